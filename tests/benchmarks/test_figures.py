"""Figures of benchmarks are drawn from the tables that are committed, with nothing measured again."""

from __future__ import annotations

from pathlib import Path

import _look
import derived_figure
import growth
import measures_figures
import pandas as pd
import plotly.graph_objects as go
import pytest
import search
from _findings_page import draw
from _images_figure import figure as images_figure
from search_images import volume

from analysis import picture
from analysis.palette import THEMES
from robustray.errors import UserError
from tests.faults import figure as campaign

ROOT = Path(__file__).parents[2]
RESULTS, FINDINGS = ROOT / "benchmarks" / "results", ROOT / "docs" / "findings"
COLOURS = set(THEMES["light"].categories)


KEPT: list[go.Figure] = []
"""What a browser would have drawn; a file of it holds its place here."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where all figures go."""

    def png(figure: go.Figure, *_: object) -> bytes:
        KEPT.append(figure)
        return str(len(KEPT) - 1).encode()

    monkeypatch.setattr(picture, "drawn", png)
    monkeypatch.setattr(growth, "FIGURES", tmp_path)
    monkeypatch.setattr(search, "FIGURES", tmp_path)
    return tmp_path


def figures(folder: Path) -> dict[str, go.Figure]:
    """By name."""
    return {path.stem: KEPT[int(path.read_bytes())] for path in folder.rglob("*.png")}


def newest(name: str) -> Path:
    return sorted(RESULTS.glob(f"????-??-??-{name}.csv"))[-1]


def test_growth(folder: Path) -> None:
    rows = _look.rows_of(newest("growth"), newest("growth-workers"))
    growth.figures(rows, "cpu")
    drawn = figures(folder)
    assert set(drawn) == set(growth.AXES)
    for axis, figure in drawn.items():
        shown = sorted(value for trace in figure.data for value in trace.y)
        assert shown == sorted(rows[rows["case"].str.startswith(f"{axis} ")]["value"])
        assert {trace.line.color for trace in figure.data} <= COLOURS
    growth.figures(rows, "cuda")
    assert {"batch-cuda", "width-cuda"} < set(figures(folder))


def test_searches_look_the_same_in_every_figure(folder: Path) -> None:
    search._draw("search", newest("search"))
    drawn = figures(folder)
    assert len(drawn) == 3
    looks: dict[str, set[tuple[str, str, str]]] = {}
    for figure in drawn.values():
        for trace in figure.data:
            looks.setdefault(trace.name, set()).add((trace.line.color, trace.line.dash, trace.marker.symbol))
        assert [trace.line.width for trace in figure.data[:3]] == [3, 3, 1.3]
    assert all(len(found) == 1 for found in looks.values())
    assert len(set.union(*looks.values())) == len(looks)


def test_the_middle_half_is_drawn_where_a_table_has_it(folder: Path) -> None:
    rows = pd.read_csv(newest("search"))
    quarter = rows.assign(lower_quartile=rows["value"] - 0.01, upper_quartile=rows["value"] + 0.02)
    quarter.to_csv(folder / "rows.csv", index=False)
    search._draw("with", folder / "rows.csv")
    bars = figures(folder)["with-digits_constant"].data[0].error_y
    assert list(bars.array) == pytest.approx([2] * len(bars.array))
    assert list(bars.arrayminus) == pytest.approx([1] * len(bars.array))


def test_findings(folder: Path) -> None:
    draw(folder, pd.read_csv(FINDINGS / "runs.csv"))
    drawn = figures(folder)
    assert set(drawn) == {"beta", "dropout", "score", "spatial"}
    for figure in drawn.values():
        assert {trace.marker.color or trace.line.color for trace in figure.data} <= COLOURS | {None}
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text


def test_tables_of_docs(folder: Path) -> None:
    measured = measures_figures.figure(pd.read_csv(FINDINGS / "measures.csv"))
    assert set(measured.data[0].marker.color) <= COLOURS
    for name, split in (("derived_images", "validation"), ("derived_digits", "test")):
        rows = pd.read_csv(FINDINGS / f"{name}.csv")
        figure = derived_figure.figure(rows, "", split)
        low, high = figure.layout.yaxis.range
        assert low < 100 * rows["robust"].min()
        assert high > 100 * rows["robust"].max()
        assert sum(len(trace.x) for trace in figure.data) == len(rows)
    images_figure(folder / "search_images.png", pd.read_csv(FINDINGS / "search_images.csv"), 2.5, volume)
    assert {trace.line.color or trace.marker.color for trace in figures(folder)["search_images"].data} <= COLOURS
    rounds = campaign.figure(campaign.read([FINDINGS / "campaign.csv"]))
    assert {trace.marker.color for trace in rounds.data} <= COLOURS


def test_what_is_no_table_is_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no table of a benchmark"):
        _look.rows_of(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="it has no column case, machine, measure, value"):
        _look.rows_of(tmp_path / "other.csv")
