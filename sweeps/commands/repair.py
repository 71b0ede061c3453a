"""`python -m sweeps repair FOLDER`: a damaged record, cut before its first bad line."""

from __future__ import annotations

import shlex
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from robustray.errors import UserError


def repair(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, results/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Cut without asking.")] = False,
) -> None:
    """Cut the record before its first damaged line. Nothing is deleted: all of it is copied first, beside it."""
    from sweeps.record import JOURNAL, mending, shared
    from sweeps.record.lock import FolderLock

    shared.demand(folder)
    journal = folder / JOURNAL
    if not journal.is_file():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    with FolderLock(folder):
        found = mending.damage_of(journal)
        if found is None:
            typer.echo(f"{journal}: every line can be read; nothing to mend")
            return
        typer.echo(f"{journal}: {found}")
        if not yes and not _agreed(folder):
            raise UserError(f"{journal}: left as it is")
        cut = mending.cut(journal, found, f"cut-{datetime.now():%Y-%m-%dT%H-%M-%S}")
    typer.echo(f"kept: {cut.kept}")
    typer.echo(f"cut off: {cut.lost}; now in {cut.tail}")
    typer.echo(f"the record as it was: {cut.whole}")
    if cut.aside is not None:
        typer.echo(f"folders of trials that are no longer in the record: now in {cut.aside}")
    typer.echo("the same sweep goes on from here")


def _agreed(folder: Path) -> bool:
    try:
        return typer.confirm("Cut before this line? What is cut off is kept beside it", default=False)
    except typer.Abort:  # nobody there to be asked
        raise UserError(f"nobody answers; python -m sweeps repair {shlex.quote(str(folder))} --yes") from None
