"""The benchmark of derived points: intervals in closed form, and what lies beyond the trained frontier."""

from __future__ import annotations

import math
from pathlib import Path

import _bench
import derive
import derived_figure
import numpy as np
import pytest
from _bench import interval
from derive import SPACE, Gains, State

from analysis.comparison import Paired
from sweeps.record import Judged, Members, Snapshot, TrialRecord
from sweeps.space import Sweep


def test_the_interval_of_a_mean_is_students() -> None:
    low, high = interval([1.0, 3.0])
    assert (low, high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)
    assert all(map(math.isnan, interval([1.0])))


def test_the_space_of_the_benchmark_is_valid() -> None:
    assert Sweep.from_yaml(SPACE).search.trials == 5


def _rows(derived: list[list[float]]) -> dict[str, float]:
    """A derived point [2, N] beside two trained ones: right about 80 and 60 of 100 images, robust on 20 and 40."""
    images = np.arange(100)
    trained = [[images < 80, images < 20], [images < 60, images < 40]]
    trials = tuple(
        TrialRecord(n, {"derived": "soup"} if n == 2 else {}, "complete", origin="derived" if n == 2 else "sampled")
        for n in range(3)
    )
    snapshot = Snapshot({"clean_accuracy": "max", "robust_accuracy": "max"}, trials, {}, {}, {}, (), {})
    models = Paired("test", [0, 1, 2], np.array([*trained, derived], dtype=float), [{}, {}, {}])
    table = derived_figure.table(models, snapshot)
    assert table[["clean", "robust"]].loc[table.trial == 0].to_numpy().tolist() == [[0.8, 0.2]]
    return {str(name): value for name, value in table[table.trial == 2].iloc[0].to_dict().items()}


@pytest.mark.parametrize(
    ("clean", "robust", "beyond"),
    [(80, 20, False), (60, 40, False), (81, 21, False), (95, 60, True), (80, 40, True), (60, 20, False)],
)
def test_beyond_the_trained_frontier_is_beyond_each_of_its_points(clean: int, robust: int, beyond: bool) -> None:
    """(81, 21) is more than (80, 20) in both by one image, which is noise; (80, 40) is the corner of the two."""
    images = np.arange(100)
    row = _rows([list(images < clean), list(images < robust)])
    assert bool(row["beyond"]) == beyond
    assert row["clean"] == clean / 100


def test_the_differences_are_paired() -> None:
    """Where the same images are right, a difference has no noise at all."""
    images = np.arange(100)
    row = _rows([list(images < 60), list(images < 40)])
    assert row["against"] == 1
    assert (row["clean_over"], row["clean_over_low"], row["clean_over_high"]) == (0, 0, 0)


def _state(seconds: float, *places: tuple[float, float]) -> State:
    """Trials at these places on both splits, all of them members."""
    trials = tuple(
        TrialRecord(n, {}, "complete", {"clean_accuracy": clean, "robust_accuracy": robust})
        for n, (clean, robust) in enumerate(places)
    )
    judged = {
        (n, split): Judged(100, 100 * clean, 100 * robust, "standard", True, "", 1.0)
        for n, (clean, robust) in enumerate(places)
        for split in ("validation", "test")
    }
    snapshot = Snapshot(
        {"clean_accuracy": "max", "robust_accuracy": "max"}, trials, judged, {}, {},
        [Members(1, list(range(len(places))), list(range(len(places))), "")], {},
    )  # fmt: skip
    return State(snapshot, seconds)


@pytest.mark.parametrize(("robust", "met"), [(0.5, "met"), (0.35, "missed")])
def test_growth_and_its_target(
    robust: float, met: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One point dominates 0.8 * 0.3; a corner at (0.7, r) adds 0.7 (r - 0.3), whoever made it."""
    monkeypatch.setattr(_bench, "RESULTS", tmp_path)
    before = _state(10, (0.8, 0.3))
    gains = Gains(_state(20, (0.8, 0.3), (0.7, robust)), _state(30, (0.8, 0.3), (0.7, 0.4)), before)
    assert gains.of(gains.derived, "validation") == pytest.approx(0.7 * (robust - 0.3))
    assert (gains.seconds(gains.derived), gains.seconds(gains.trained)) == (10, 20)
    bench = _bench.Bench("derive", quick=True)
    derive.report(bench, 0, gains)
    derive.summary(bench, [gains, gains])
    bench.close()
    wanted = 100 * 0.7 * (robust - 0.4)
    assert f"TARGET derived-minus-trials-of-twice-its-time {wanted:.3f} >=0 {met}" in capsys.readouterr().out
