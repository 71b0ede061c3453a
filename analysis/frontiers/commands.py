"""What `python -m analysis compare` does with sweeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

_WIDE = 200


def are_sweeps(folders: Sequence[Path]) -> bool:
    """Whether these are two sweeps or more; what is no sweep among them is said where sweeps are read."""
    from sweeps import record

    found = [(folder / record.JOURNAL).exists() for folder in folders]
    return len(folders) > 1 and any(found) and (all(found) or len(folders) > 2)


def compare(
    folders: Sequence[Path],
    split: str,
    csv: Path | None,
    published: Sequence[str],
    out: Path | None,
    *,
    formats: Sequence[str],
) -> None:
    """Prints how sweeps compare, and writes it down where that was asked for."""
    from rich.console import Console

    from analysis.frontiers import compared, figure, written
    from analysis.frontiers.differing import SERIOUS
    from robustray.errors import UserError

    if published and out is None:
        raise UserError("--published draws into a figure: name a folder with --out")
    below = figure.beneath(published)
    found = compared.compare(folders, split=split)
    notes = sorted([*found.notes, *figure.elsewhere(found, below)], key=lambda note: not note.startswith(SERIOUS))
    # Where nobody watches there is no width to keep to.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(written.shown(found))
    if out is not None:
        page, told = written.publish(found, below, out, formats=formats, notes=notes)
        notes = told
        typer.echo(page)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    if csv is not None:
        found.pairs.to_csv(csv, index=False)
        typer.echo(csv)
