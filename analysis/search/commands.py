"""The commands of `python -m analysis` that explain a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

_WIDE = 200
Folder = Annotated[Path, typer.Argument(help="the sweep's folder, results/NAME")]
Csv = Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)]


def add(app: typer.Typer) -> None:
    """Adds them."""
    for command in (audit,):
        app.command()(command)


def audit(folder: Folder, csv: Csv = None) -> None:
    """Say how far the cheap numbers of a search order trials as the judge does: Kendall's tau, and how much they fall."""
    from analysis import printed
    from analysis.search import audit as audited
    from robustray.errors import UserError
    from sweeps import record

    found = audited.audit(record.read(folder))
    if found.empty:
        raise UserError(f"{folder}: no trial is judged in full yet, so there is nothing to hold cheap numbers against")
    _show(printed.of_page(audited.table(found)))
    if csv is not None:
        found.to_csv(csv, index=False)
        typer.echo(csv)


def _show(renderable: object) -> None:
    from rich.console import Console

    # Where nobody watches there is no width to keep to.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(renderable)
