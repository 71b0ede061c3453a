"""A comparison of sweeps as tables for a terminal and a page, and as files in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from rich.console import Group
from rich.text import Text

from analysis import alone, assets, picture, printed, words
from analysis.frontiers import figure
from analysis.frontiers.compared import Compared
from analysis.frontiers.differing import SERIOUS
from analysis.tables import Cell, Head, Table
from robustray.files import write_whole

_MINUS = "\N{MINUS SIGN}"
_INDICATOR = {"hypervolume": "hypervolume, points", "epsilon": "epsilon, points"}
_SEEN = {
    "frontiers": "Clean against robust accuracy: the frontier of each sweep; the tables below have the numbers",
    "cost": "Hypervolume over device-hours, a line for each sweep",
}
LEGEND = {
    "hypervolume": "area under the frontier, of 100: larger is better",
    "epsilon": "points of both accuracies that it lacks to be as good as the best of all sweeps: smaller is better",
    "lacks": "points of both accuracies by which one's frontier falls short of covering the other's, at its worst place",
}


def sweeps(of: Compared) -> Table:
    """A row for each sweep."""
    at = f"at {words.duration(3600 * of.budget)} of device time" if of.budget == of.budget else ""
    heads = [
        Head("sweep"), Head("repetition of"), Head("members", numeric=True), Head("hypervolume", "of 100", numeric=True),
        Head("epsilon", "points", numeric=True), Head("device-hours", "all of it", numeric=True),
        Head("hypervolume", f"cheap, {at}", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(row["sweep"]),
            Cell("" if row["search"] == row["sweep"] else row["search"]),
            Cell(str(row["points"])),
            *(_number(100 * row[name]) for name in ("hypervolume", "epsilon")),
            Cell(f"{row['device_hours']:.3g}", sort=row["device_hours"]),
            _number(100 * row["hypervolume_at"]),
        ]
        for row in of.sweeps.to_dict("records")
    ]
    return Table(heads, rows)


def pairs(of: Compared) -> Table:
    """Two rows for each pair of searches."""
    heads = [
        Head("a"), Head("b"), Head("indicator"), Head("a \N{MINUS SIGN} b", "95 % interval", numeric=True),
        Head("p", "Holm", numeric=True), Head("by"), Head("a lacks", "points", numeric=True),
        Head("b lacks", "points", numeric=True),
    ]  # fmt: skip
    rows = [
        [
            Cell(row["a"]),
            Cell(row["b"]),
            Cell(_INDICATOR[row["indicator"]]),
            Cell(words.points(row["difference"]), remark=words.interval_of_points(row["low"], row["high"])),
            Cell(words.p_value(row["p"]), sort=row["p"]),
            Cell(row["test"]),
            *(_number(100 * row[name]) for name in ("a_lacks", "b_lacks")),
        ]
        for row in of.pairs.to_dict("records")
    ]
    return Table(heads, rows)


def conditions(of: Compared) -> Table:
    """A row for each condition."""
    names = [front.name for front in of.fronts]
    heads = [Head("condition"), *(Head(name) for name in names), Head("differs")]
    rows = [
        [Cell(str(row["condition"])), *(Cell(str(row[name])) for name in names), Cell(str(row["differs"]))]
        for row in of.conditions.to_dict("records")
    ]
    return Table(heads, rows)


def shown(of: Compared) -> Group:
    """All of it for a terminal; notes are said apart."""
    parts: list[Any] = [printed.of_page(sweeps(of))]
    if len(of.pairs):
        parts.append(printed.of_page(pairs(of)))
    parts += [Text(f"{name}: {said}", style="dim") for name, said in LEGEND.items()]
    return Group(*parts)


def publish(
    of: Compared, below: pd.DataFrame, out: Path, *, formats: Sequence[str] = ("png",), notes: Sequence[str] = ()
) -> tuple[Path, list[str]]:
    """Writes `index.html`, `points.csv`, `sweeps.csv`, `pairs.csv`, `conditions.csv`, and `frontiers` and `cost` as pictures.

    A picture that cannot be drawn is a note, not an error, and an older one is removed.

    Returns:
        The page, and the notes with those on pictures.
    """
    out.mkdir(parents=True, exist_ok=True)
    told = list(notes)
    figures = {"frontiers": figure.frontiers_figure(of, below)}
    if len(of.curves):
        figures["cost"] = figure.cost_figure(of)
    for name, table in {
        "points": of.points,
        "sweeps": of.sweeps,
        "pairs": of.pairs,
        "conditions": of.conditions,
    }.items():
        write_whole(out / f"{name}.csv", table.to_csv(index=False))
    write_whole(out / "index.html", _page(of, below, figures, notes))
    for name in ("frontiers", "cost"):
        wanted = formats if name in figures else ()
        told += picture.beside(figures.get(name, go.Figure()), out / name, figure.SIZE, wanted)
    return out / "index.html", told


def _page(of: Compared, below: pd.DataFrame, figures: Mapping[str, Any], notes: Sequence[str]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    themes: dict[str, alone.Themes] = {
        "frontiers": {
            "light": figures["frontiers"],
            "dark": figure.frontiers_figure(of, below, theme="dark"),
        }
    }
    if "cost" in figures:
        themes["cost"] = {"light": figures["cost"], "dark": figure.cost_figure(of, theme="dark")}
    names = [front.name for front in of.fronts]
    body = environment.from_string(assets.read("frontiers/page.html")).render(
        names=names,
        split=of.split,
        notes=list(notes),
        serious=any(note.startswith(SERIOUS) for note in notes),
        figures=[alone.place(name, _SEEN[name]) for name in themes],
        sweeps=sweeps(of),
        pairs=pairs(of),
        conditions=conditions(of),
        legend=LEGEND,
    )
    return alone.render(", ".join(names), Markup(body), themes)  # noqa: S704 - the template escaped it


def _number(value: float) -> Cell:
    return Cell("" if words.missing(value) else f"{value:.1f}".replace("-", _MINUS), sort=value)
