"""What repeats of a search attain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.search.attainment import Repeats, needed, of_sweeps, summary, surfaces
from analysis.search.attainment_figure import attainment_figure
from robustray.errors import UserError
from tests.analysis.made import OBJECTIVES, sweep

A, B, C = np.array([[0.9, 0.1], [0.5, 0.5]]), np.array([[0.8, 0.3]]), np.array([[0.7, 0.6]])
POINT = st.tuples(st.integers(0, 5), st.integers(0, 5))
FRONTS = st.lists(st.lists(POINT, min_size=1, max_size=4), min_size=2, max_size=5)


def test_three_fronts_by_hand() -> None:
    """A quarter and a third of three fronts is one of them, half is two, three quarters are all."""
    found = surfaces([A, B, C], [True, True])
    assert {level: sorted(map(tuple, points.tolist())) for level, points in found.items()} == {
        25: [(0.7, 0.6), (0.8, 0.3), (0.9, 0.1)],
        50: [(0.5, 0.5), (0.7, 0.3), (0.8, 0.1)],
        75: [(0.5, 0.3), (0.7, 0.1)],
    }


@settings(max_examples=40, deadline=None)
@given(FRONTS, st.sampled_from([(True, True), (True, False)]), st.integers(1, 100))
def test_a_point_is_attained_by_a_surface_where_so_many_fronts_attain_it(
    drawn: list[list[tuple[int, int]]], maximise: tuple[bool, bool], level: int
) -> None:
    fronts = [np.array(front, dtype=float) for front in drawn]
    signs = np.where(maximise, 1, -1)
    surface = surfaces(fronts, maximise, [level])[level]
    for target in np.ndindex(6, 6):
        reached = sum(bool(((front - target) * signs >= 0).all(axis=1).any()) for front in fronts)
        by_surface = bool(((surface - target) * signs >= 0).all(axis=1).any())
        assert by_surface == (reached >= needed(level, len(fronts)))


def test_hypervolumes_are_areas_and_fall_with_the_level() -> None:
    found = summary(Repeats({"a": A, "b": B, "c": C}, OBJECTIVES, "judged")).set_index("front")["hypervolume"]
    assert found["a"] == pytest.approx(0.9 * 0.1 + 0.5 * 0.4)
    assert found["b"] == pytest.approx(0.8 * 0.3)
    attained = found[found.index.str.startswith("attained")].to_numpy()
    assert (np.diff(attained) < 0).all()
    assert attained[-1] == pytest.approx(0.7 * 0.1 + 0.5 * 0.2)


def test_a_cost_is_drawn_and_measured_downwards() -> None:
    fronts = {"a": np.array([[0.9, 4.0], [0.6, 1.0]]), "b": np.array([[0.8, 2.0]])}
    repeats = Repeats(fronts, {"robust_accuracy": "max", "cost_device_hours": "min"}, "cheap")
    assert summary(repeats)["hypervolume"].iloc[0] == pytest.approx(0.6 * 0.75)
    kinds = [(trace.meta or {}).get("kind") for trace in attainment_figure(repeats).data]
    assert kinds == [None, "repeat", "repeat", "surface", "surface", "surface"]


def test_sweeps_and_seeds_are_read(made: Path, mixed: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    repeats = of_sweeps([made, mixed])
    front = table.loc[table["member"], ["judged_clean_accuracy", "judged_robust_accuracy"]]
    assert set(map(tuple, repeats.fronts["trades_beta"])) == set(map(tuple, front.to_numpy()))
    assert set(of_sweeps([mixed]).fronts) == {"seed 1 of 3", "seed 2 of 3", "seed 3 of 3"}
    done = CliRunner().invoke(app, ["attainment", str(made), str(mixed), "--csv", str(tmp_path / "x.csv")])
    assert done.exit_code == 0
    assert "attained by 50 % (1 of 2)" in done.output
    assert set(pd.read_csv(tmp_path / "x.csv")["level"]) == {25, 50, 75}


def test_what_is_no_repeat_is_told_in_a_line(made: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="every setting has one training seed"):
        of_sweeps([made])
    with pytest.raises(UserError, match="no trial within its constraints is complete yet"):
        of_sweeps([made, sweep(tmp_path / "none", trials=0, judge=False, fix=False)])
    other = sweep(tmp_path / "other", trials=2, judge=False, fix=False)
    space = yaml.safe_load((other / "sweep.yaml").read_text())
    space["space"]["trial"]["defense"]["beta"] = {"loguniform": [1, 20]}
    (other / "sweep.yaml").write_text(yaml.safe_dump(space))
    with pytest.raises(UserError, match="its `trial` is not that of"):
        of_sweeps([made, other])
