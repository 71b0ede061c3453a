"""`python -m analysis paper`: a paper's table and figure from sweeps and measures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robustray.errors import UserError, nearest


def add(app: typer.Typer) -> None:
    """Adds it."""
    app.command()(paper)


def paper(
    name: Annotated[
        str | None, typer.Argument(help="which; without one all are listed", show_default=False, metavar="[NAME]")
    ] = None,
    folders: Annotated[
        list[Path] | None, typer.Argument(help="folders that it reads, sweeps mostly: results/NAME", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="where table and figure go; default: results/papers", show_default=False),
    ] = None,
) -> None:
    """Draw a table and figure of the papers from one's own sweeps: NAME.csv, .tex, .html, .png, .svg and .pdf."""
    from analysis.papers import exhibit as exhibits
    from analysis.papers.registry import EXHIBITS

    if name is None:
        for each in EXHIBITS.values():
            typer.echo(f"{each.name}\n  {each.shows}\n  {each.paper}\n  of {each.folders}; made by: {each.command}")
        return
    if name not in EXHIBITS:
        raise UserError(f"paper: there is no {name!r}; {nearest(name, EXHIBITS)}")
    exhibit = EXHIBITS[name]
    if not folders:
        raise UserError(
            f"{name} reads {exhibit.folders}: name one or more FOLDERs; what they need is made by: {exhibit.command}"
        )
    written = exhibits.publish(exhibit, folders, out or Path("results/papers"))
    for note in dict.fromkeys(written.notes):
        typer.echo(f"note: {note}", err=True)
    for path in written.files:
        typer.echo(path)
