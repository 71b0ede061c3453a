"""Figures of the toys are pure functions of their tables, and mistakes about their folders are one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from analysis import toys
from robustray.errors import UserError

S = [-1.0, 0.0, 1.0]
TABLES: dict[str, toys.Tables] = {
    "score": {
        "posterior": pd.DataFrame(
            [
                {"objective": o, "divergence": d, "x": x, "truth": 0.7, "learnt": 0.6}
                for o in toys.OBJECTIVES
                for d in toys.DIVERGENCES
                for x in S
            ]
        ),
        "snapshots": pd.DataFrame(
            [
                {"objective": o, "divergence": d, "iteration": at, "x": x, "truth": 0.7, "learnt": 0.5 + at / 1000}
                for o in toys.OBJECTIVES
                for d in toys.DIVERGENCES
                for at in (10, 100)
                for x in S
            ]
        ),
        "trace": pd.DataFrame(
            [
                {"objective": o, "divergence": d, "iteration": at, "score": 1 / (1 + at)}
                for o in toys.OBJECTIVES
                for d in toys.DIVERGENCES
                for at in (0, 10, 20)
            ]
        ),
    },
    "splines": {
        "errors": pd.DataFrame(
            [
                {"points": n, "method": m, "strength": 1.0, "seed": s, "test": 0.1 + s, "worst_test": 0.2 + s}
                for n in (40, 30_000)
                for m in toys.METHODS
                for s in (0, 1)
            ]
        ),
        "curves": pd.DataFrame(
            [
                {"points": n, "method": m, "strength": k, "x": x, "f": x}
                for n in (40, 30_000)
                for m, k in (("natural", 0.0), ("at", 1.0), ("trades", 6.0))
                for x in S
            ]
        ),
        "points": pd.DataFrame({"x": S, "y": S}),
    },
    "separation": {
        "distances": pd.DataFrame(
            {"split": ["train", "train", "test"], "distance": [0.5, 0.6, 0.7], "random_labels": [0.3, 0.4, 0.5]}
        ),
        "certain": pd.DataFrame(
            {"split": ["train", "test"] * 2, "radius": [0, 0, 0.1, 0.1], "share": [1, 0.9, 0.9, 0.5]}
        ),
    },
    "landscape": {
        "lines": pd.DataFrame(
            [
                {"training": t, "of": of, "line": n, "s": s, "loss": 1 + s * s}
                for t in ("natural", "trades")
                for of in ("clean", "robust")
                for n in (0, 1)
                for s in S
            ]
        ),
        "plane": pd.DataFrame(
            [
                {"training": name, "of": "robust", "s": s, "t": t, "loss": 1 + s * s + t * t}
                for name in ("natural", "trades")
                for s in S
                for t in S
            ]
        ),
    },
}
EVERY = [(toy, name) for toy, figures in toys.FIGURES.items() for name in figures]


@pytest.mark.parametrize(("toy", "name"), EVERY)
def test_a_figure_is_a_pure_function_of_its_tables(toy: str, name: str) -> None:
    tables = {key: df.copy() for key, df in TABLES[toy].items()}
    first, again = (toys.FIGURES[toy][name](tables) for _ in range(2))
    assert isinstance(first, go.Figure)
    assert first.to_json() == again.to_json()
    for key, df in TABLES[toy].items():
        pd.testing.assert_frame_equal(tables[key], df)
    assert len(first.data) >= 2
    assert first.layout.width <= 760, "fits a page"


def test_every_toy_has_figures() -> None:
    assert set(toys.FIGURES) == set(toys.TOYS) == set(TABLES)


def test_rises_of_a_plane_are_over_its_centre_and_on_one_scale() -> None:
    drawn = toys.planes(TABLES["landscape"]).data
    assert {(each.zmin, each.zmax) for each in drawn} == {(0.0, 2.0)}
    assert all(each.z[1][1] == 0 for each in drawn)


def test_a_folder_of_another_toy_is_refused(tmp_path: Path) -> None:
    (tmp_path / toys.ABOUT).write_text(json.dumps({"toy": "score", "tables": []}))
    with pytest.raises(UserError, match="holds the tables of score, not of splines: choose another --out"):
        toys.publish("splines", tmp_path)


def test_tables_of_another_version_are_told_with_the_remedy(tmp_path: Path) -> None:
    tables = {name: table for name, table in TABLES["score"].items() if name != "snapshots"}
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / toys.ABOUT).write_text(json.dumps({"toy": "score", "tables": sorted(tables)}))
    with pytest.raises(UserError, match=r"of another version; remove toy\.json"):
        toys.publish("score", tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"toy": "score", "tables": ["gone"]}'])
def test_a_damaged_folder_is_told_with_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / toys.ABOUT).write_text(content)
    with pytest.raises(UserError, match=r"damaged; remove toy\.json"):
        toys.read("score", tmp_path)


def test_bars_of_distances_are_as_wide_as_the_levels_of_the_data() -> None:
    """Pixels of 17 levels in 8 bits: every level within its bar, and none between two bars that have something."""
    levels = np.array([64, 63, 79, 80, 95, 96, 111, 112, 127, 128, 143, 159, 175, 191, 207, 223, 239]) / 255
    rows = pd.DataFrame({"split": "train", "distance": levels, "random_labels": levels})
    first = toys.distances({"distances": rows}).data[0]
    edges = first.xbins.start + first.xbins.size * np.arange(18)
    np.testing.assert_array_equal(np.histogram(levels, edges)[0], [0] * 4 + [2] * 5 + [1] * 7 + [0])
    fine = pd.DataFrame({"split": "train", "distance": np.linspace(0, 1, 500), "random_labels": np.linspace(0, 1, 500)})
    assert toys.distances({"distances": fine}).data[0].xbins.size == 0.05
