"""The commands of `python -m analysis` that explain a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.elsewhere import Swept

if TYPE_CHECKING:
    import plotly.graph_objects as go

_WIDE = 200
_DRAWN = 2  # objectives
_WIDTH = 700  # pixels of a picture, beside text of a paper's size
Csv = Annotated[Path | None, typer.Option(help="write all numbers into this file too", show_default=False)]
Drawn = Annotated[
    Path | None,
    typer.Option(help="draw it into this file, .png, .svg or .pdf, which takes a browser", show_default=False),
]


def add(app: typer.Typer) -> None:
    """Adds them."""
    for command in (importance, attainment, audit):
        app.command()(command)


def importance(
    folder: Swept,
    csv: Csv = None,
    out: Drawn = None,
) -> None:
    """Say which options mattered, for each objective and for the frontier, which act together, and what made each member."""
    from analysis import collect, printed
    from analysis.search import explained, interactions, made_by, written
    from analysis.search.importance_figure import importance_figure
    from robustray.errors import UserError
    from sweeps import record

    snapshot = record.read(folder)
    found = explained.explain(collect.table(snapshot), snapshot)
    if found.importance is None:
        raise UserError(f"{folder}: {found.why_not}, so nothing is said of options")
    table = found.importance.table
    for target, of_target in written.tables(table):
        _show(target)
        _show(printed.of_page(of_target))
    _show(interactions.HEADING)
    _show(interactions.said(found.pairs))
    if len(found.pairs):
        _show(printed.of_page(interactions.table(found.pairs)))
    members = made_by.table(found.members, snapshot.objectives)
    if members.rows:
        _show(written.MEMBERS)
        _show(printed.of_page(members))
    if csv is not None:
        pairs = csv.with_name(f"{csv.stem}_pairs{csv.suffix}")
        for path, numbers in ((csv, table), (pairs, found.pairs)):
            numbers.to_csv(path, index=False)
            typer.echo(path)
    if out is not None:
        _draw(importance_figure(table), out)


def attainment(
    folders: Annotated[
        list[Path], typer.Argument(help="sweeps of one space with different search seeds, or one with replicates")
    ],
    csv: Annotated[
        Path | None, typer.Option(help="write the surfaces' points into this file", show_default=False)
    ] = None,
    out: Drawn = None,
) -> None:
    """Say what repeats of a search attain: surfaces that a quarter, half and three quarters of them reach."""
    from analysis import printed
    from analysis.search import attainment as attained
    from analysis.search.attainment_figure import attainment_figure
    from robustray.errors import UserError

    repeats = attained.of_sweeps(folders)
    _show(printed.of_page(attained.printed(repeats)))
    if csv is not None:
        attained.table(repeats).to_csv(csv, index=False)
        typer.echo(csv)
    if out is not None:
        if len(repeats.objectives) > _DRAWN:
            raise UserError(f"--out {out}: attainment of three objectives has no figure; --csv writes its points")
        _draw(attainment_figure(repeats), out)


def audit(folder: Swept, csv: Csv = None) -> None:
    """Say how far the cheap numbers of a search order trials as the judge does: Kendall's tau, and how much they fall."""
    from analysis import printed, sheet
    from analysis.search import audit as audited
    from robustray.errors import UserError
    from sweeps import record

    found = audited.audit(record.read(folder), one_list=sheet.read(folder).one_list)
    if found.empty:
        raise UserError(f"{folder}: no trial is judged in full yet, so there is nothing to hold cheap numbers against")
    _show(printed.of_page(audited.table(found)))
    if csv is not None:
        found.to_csv(csv, index=False)
        typer.echo(csv)


def _draw(figure: go.Figure, out: Path) -> None:
    from analysis import picture

    picture.save(figure, out, _WIDTH, int(figure.layout.height))
    typer.echo(out)


def _show(renderable: object) -> None:
    from rich.console import Console

    # Where nobody watches there is no width to keep to.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(renderable)
