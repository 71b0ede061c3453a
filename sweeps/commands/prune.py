"""`python -m sweeps prune FOLDER`: what of a sweep nothing will read again, and with `--yes` its end."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer

from robustray.errors import UserError


def prune(
    folder: Annotated[Path, typer.Argument(help="The sweep's folder, results/NAME.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it, only say what would go.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every file.")] = False,
) -> None:
    """Says what could be deleted, and how much that is: states before the last of trials that have ended, and all states of
    those that did not complete. Never the last or the selected state of a trial that completed, whether on the frontier or
    not, snapshots that were asked for, judgements, or tables.
    """
    from sweeps.record import JOURNAL, read, room, shared, unneeded
    from sweeps.record.lock import FolderLock
    from sweeps.space.disk import described

    shared.demand(folder)
    if not (folder / JOURNAL).is_file():
        raise UserError(f"{folder}: no sweep here (no {JOURNAL})")
    with FolderLock(folder):
        found = list(unneeded.unneeded(folder, read(folder)))
        by_reason = defaultdict[str, list[int]](list)
        for each in found:
            by_reason[each.why].append(each.size)
            if verbose:
                typer.echo(f"{each.path}  {described(each.size)}  {each.why}")
        for why, sizes in by_reason.items():
            typer.echo(f"{len(sizes)} {'file' if len(sizes) == 1 else 'files'} {why}: {described(sum(sizes))}")
        total, all_of_it = described(sum(each.size for each in found)), described(room.used(folder))
        if not found:
            typer.echo(f"{folder}: {all_of_it}; nothing to delete")
        elif yes:
            unneeded.delete(found)
            typer.echo(f"deleted: {total} of {all_of_it}")
        else:
            again = f"python -m sweeps prune {shlex.quote(str(folder))} --yes"
            typer.echo(f"would delete {total} of {all_of_it}: {again}")
