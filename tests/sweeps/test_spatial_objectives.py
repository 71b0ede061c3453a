"""Accuracy under rotations as an objective: named only where the judge measures it, searched, judged beside, reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import load
from analysis.report import publish
from robustray.errors import UserError
from sweeps.record import read
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, run_quietly, small_sweep

THREE = SPACE.replace("  version:", "  spatial: {rotation: 30, translation: 1, draws: 2}\n  version:").replace(
    "search: {sampler: random, trials: 5, seed: 3}",
    "objectives: {clean_accuracy: max, robust_accuracy: max, spatial_accuracy: max}\n"
    "constraints: {spatial_fooling_rate: {max: 1.0}}\n"
    "search: {trials: 3, sampler: random, seed: 3}\nderive: [{name: soup, parents: [cleanest, most_robust]}]",
)


def test_an_objective_that_nobody_measures_is_refused_with_the_remedy(tmp_path: Path) -> None:
    remedy = r"write judge: \{spatial: \{rotation: 30, translation: 3\}\}"
    with pytest.raises(
        UserError, match=rf"objectives.spatial_accuracy: is measured only where judge.spatial says how; {remedy}"
    ):
        small_sweep(tmp_path, "judge.spatial=null", text=THREE.replace("constraints", "# "))
    with pytest.raises(
        UserError, match=r"constraints.spatial_fooling_rate: is measured only where judge.spatial says how"
    ):
        small_sweep(tmp_path, "judge.spatial=null", "objectives={clean_accuracy: max}", text=THREE)
    with pytest.raises(UserError, match=r"judge.spatial.grid says how; .*grid: \{rotations: 5, translations: 3\}"):
        small_sweep(tmp_path, "objectives={spatial_grid_accuracy: max}", text=THREE)
    assert small_sweep(tmp_path, "objectives={adversarial_fooling_rate: min}", text=SPACE)


def test_what_a_remedy_says_is_valid(tmp_path: Path) -> None:
    judged = "judge.spatial={rotation: 30, translation: 3, grid: {rotations: 5, translations: 3}}"
    assert small_sweep(tmp_path, judged, "objectives={spatial_grid_accuracy: max}", text=THREE)


def test_a_sweep_of_three_objectives_from_end_to_end(tmp_path: Path) -> None:
    """Points that are derived are measured as trials are; the page has a column of it."""
    sweep: Sweep = small_sweep(tmp_path, text=THREE)
    folder = tmp_path / "three"
    assert run_quietly(sweep, folder)
    snapshot = read(folder)
    assert {trial.origin for trial in snapshot.trials} == {"sampled", "derived"}
    for trial in snapshot.trials:
        assert trial.outcome == "complete", trial.cause
        assert 0 < trial.metrics["spatial_worst_accuracy"] <= trial.metrics["spatial_accuracy"] <= 1
        assert trial.metrics["spatial_fooling_rate"] <= 1
    assert snapshot.members[-1].trials
    publish(folder)
    assert load(folder)["spatial_accuracy"].notna().all()
    page = (folder / "report" / "index.html").read_text()
    assert "tune images, %" in page
