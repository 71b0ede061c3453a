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

SHIPPED = Path(__file__).parents[2] / "search_spaces"
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


@pytest.mark.e2e
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
    assert "tune images,\u00a0%" in page


def test_the_trade_off_of_the_paper_on_digits(tmp_path: Path) -> None:
    """The shipped space, small: the grid is gone through, each curve has its points, three objectives have a frontier."""
    small = [
        "judge.data={name: digits, validation: 400}",
        "judge.threat.eps=0.1",
        "judge.cheap={name: pgd, steps: 3}",
        "judge.version=[apgd-ce]",
        "judge.images={validation: 60, test: 80}",
        "trial.batch={size: 200}",
        "trial.model={name: small_cnn, width: 2}",
        "trial.attack={steps: 2}",
        "trial.schedule.epochs=3",
        "trial.curriculum.choice.0.stages.0.rotation={stepped: [0, 60, 30]}",
        "resources={cpus: 1}",
    ]
    sweep = Sweep.from_yaml(SHIPPED / "papers" / "kamath2021_tradeoff.yaml", overrides=small)
    folder = tmp_path / "tradeoff"
    assert run_quietly(sweep, folder)
    snapshot = read(folder)
    assert [trial.params["curriculum"] for trial in snapshot.trials] == [
        *["theta"] * 3, *["eps"] * 3, "cusp", "cusp_within_60",
    ]  # fmt: skip
    assert all(trial.outcome == "complete" for trial in snapshot.trials)
    assert all("spatial_accuracy" in trial.metrics for trial in snapshot.trials)
    assert snapshot.members[-1].trials
    assert not run_again(sweep, folder), "the grid is exhausted"


def run_again(sweep: Sweep, folder: Path) -> int:
    """How many trials the same command adds."""
    before = len(read(folder).trials)
    assert run_quietly(sweep, folder)
    return len(read(folder).trials) - before
