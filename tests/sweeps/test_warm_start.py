"""Trials of other sweeps: which come in, what they are, and that a search learns from them alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import optuna
import pytest

import sweeps
from robustray.errors import UserError
from sweeps import record
from sweeps.record import Judged, Record, provenance
from sweeps.record.imported import Imported, imported, of
from sweeps.running.queues import End, Job
from sweeps.search import warm_start
from sweeps.search.controller import Controller
from sweeps.search.first import First
from sweeps.search.sampling import population, sampler
from sweeps.search.stopping import first_in_first_out
from sweeps.search.study import Study
from sweeps.space import Sweep
from sweeps.standing import eligible, members
from tests.sweeps.small import small_sweep

COSTS = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A sweep of six trials: 0 failed, 1 is judged, and what all of them came to follows from their numbers."""
    folder = tmp_path / "other"
    sweep = small_sweep(tmp_path / "space", "name=other", "search.trials=6")
    provenance.prepare(sweep, folder, fresh=False)
    with Record(folder, sweep.objectives) as opened:
        controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
        for number in range(6):
            job = controller.next()
            assert isinstance(job, Job)
            metrics = {"clean_accuracy": 0.9 - number / 100, "robust_accuracy": 0.3 + number / 100, **COSTS}
            controller.finish(
                job, End("complete" if number else "diverged", None, {**metrics, "weights": f"sha{number}"})
            )
        opened.judge(1, "validation", Judged(100, 80, 20, "apgd-ce", False, "judgements/0001", 1.0))
    return folder


def told(sweep: Sweep) -> tuple[list[Imported], list[str]]:
    lines: list[str] = []
    return warm_start.found(sweep, lines.append), lines


def warm(tmp_path: Path, *overrides: str) -> Sweep:
    return small_sweep(
        tmp_path / "space", "search.sampler=tpe", f"search.warm_start=[{tmp_path / 'other'}]", *overrides
    )


def test_complete_trials_come_in_with_where_they_come_from(tmp_path: Path, other: Path) -> None:
    found, lines = told(warm(tmp_path))
    assert [each.trial for each in found] == [1, 2, 3, 4, 5]
    assert lines == [f"warm start: 5 of 6 settings imported from {other} (1 left out: did not complete)"]
    there = record.read(other).trials
    for each in found:
        assert each.params == there[each.trial].params
        assert (each.source, each.weights) == (str(other), f"sha{each.trial}")
        assert each.space == provenance.sweep_in(other).space_hash
    assert [each.known for each in found] == ["judged"] + ["cheap"] * 4
    assert (found[0].values["clean_accuracy"], found[0].values["robust_accuracy"]) == (0.8, 0.2)
    assert found[1].values["robust_accuracy"] == pytest.approx(0.32)


def test_where_judges_differ_the_cheap_attack_counts(tmp_path: Path, other: Path) -> None:
    found, _ = told(warm(tmp_path, "judge.version=[square]"))
    assert [each.known for each in found] == ["cheap"] * 5
    assert found[0].values["robust_accuracy"] == pytest.approx(0.31)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("judge.threat.eps=0.2", "another threat, judge.threat.eps: 0.1 -> 0.2"),
        ("judge.cheap.steps=4", "another cheap attack, judge.cheap.steps: 3 -> 4"),
        ("judge.images.validation=61", "measured on other images of validation"),
        ("judge.data.validation=300", "its images are others"),
        ("objectives={robust_accuracy: max}", "its objectives are clean_accuracy max, robust_accuracy max"),
        ("trial.schedule.epochs=4", "another training, trial.schedule.epochs: 3 -> 4"),
        ("trial.model.width={choice: [2, 3]}", "model.width was not searched there"),
        ("trial.schedule.lr={uniform: [0.6, 0.9]}", "schedule.lr must be a number from 0.6 to 0.9"),
    ],
)
def test_what_does_not_fit_stays_out_and_nothing_at_all_is_a_mistake(
    override: str, why: str, tmp_path: Path, other: Path
) -> None:
    with pytest.raises(UserError) as error:
        told(warm(tmp_path, override))
    assert str(error.value).startswith("search.warm_start: nothing of ")
    assert why in str(error.value)


def test_options_outside_the_distributions_are_left_out_with_a_count(tmp_path: Path, other: Path) -> None:
    rates = [trial.params["schedule.lr"] for trial in record.read(other).trials[1:]]
    middle = sorted(rates)[2]
    found, lines = told(warm(tmp_path, f"trial.schedule.lr={{loguniform: [{middle * 0.999}, 0.5]}}"))
    assert len(found) == 3
    assert "2 left out: schedule.lr must be a number from" in lines[0]
    assert all(each.params["schedule.lr"] >= middle for each in found)


def test_a_folder_that_is_no_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="other: holds no sweep"):
        told(warm(tmp_path))


@pytest.mark.parametrize("damage", ["{", "a: [", "\0"])
def test_a_damaged_folder_is_named_with_its_place_and_nobodys_own_results_are_renamed(
    damage: str, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/sweep.yaml").write_text(damage)
    with pytest.raises(UserError, match=r"search\.warm_start\.0: .*other/sweep.yaml: not readable") as error:
        told(warm(tmp_path))
    assert "--fresh" not in str(error.value)


@pytest.mark.parametrize("folder", ['""', '"/tmp/\\0x"'])
def test_what_can_be_no_folder_is_refused_as_the_space_is_read(folder: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search\.warm_start\.0: must name a folder, not"):
        small_sweep(tmp_path, f"search.warm_start=[{folder}]")


def test_they_are_taken_in_once_and_are_no_trials(tmp_path: Path, other: Path) -> None:
    sweep = warm(tmp_path)
    with Record(tmp_path / "record", sweep.objectives) as opened:
        warm_start.take_in(sweep, opened, None, lambda line: None)
        known = of(opened)
        assert len(known) == 5
    shutil.rmtree(other)
    with Record(tmp_path / "record", sweep.objectives) as opened:
        warm_start.take_in(sweep, opened, None, lambda line: None)
        assert of(opened) == known
        snapshot = opened.snapshot()
        assert imported(snapshot.settings) == known
        assert (list(snapshot.trials), eligible(snapshot), members(snapshot)) == ([], [], [])
        study = Study(sweep, opened)
        assert (study.sampled, study.learnt) == (0, 5)
        assert [curve.number for curve in warm_start.curves(opened, 3)] == [-1, -2, -3, -4, -5]
        assert [(c.state, c.rungs, c.final) for c in warm_start.curves(opened, 3)] == [
            ("complete", (), e.values) for e in known
        ]
        controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
        assert [controller.draw() for _ in range(3)] == [0, 1, 2]
    journal = (tmp_path / "record" / record.JOURNAL).read_text().splitlines()
    assert sum("settings/imported" in json.loads(line).get("user_attr", {}) for line in journal) == 1


def test_a_study_has_what_came_in_as_if_it_were_its_own(tmp_path: Path, other: Path) -> None:
    sweep = warm(tmp_path)
    found, _ = told(sweep)
    with Record(tmp_path / "record", sweep.objectives) as opened:
        warm_start.take_in(sweep, opened, found, lambda line: None)
        trials = Study(sweep, opened)._study.get_trials()
    assert [trial.params for trial in trials] == [each.params for each in found]
    assert [trial.values for trial in trials] == [
        [e.values["clean_accuracy"], e.values["robust_accuracy"]] for e in found
    ]
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_samplers_with_generations_descend_from_what_came_in(name: str, tmp_path: Path, other: Path) -> None:
    sweep = warm(tmp_path, f"search.sampler={name}", "search.trials=8")
    one = told(sweep)[0][0]
    with Record(tmp_path / "record", sweep.objectives) as opened:
        warm_start.take_in(sweep, opened, [one] * population(8), lambda line: None)
        study = Study(sweep, opened)
        drawn = [study.ask(sampler(sweep, number)).params for number in range(4)]
    shared = [set(each.items()) & set(one.params.items()) for each in drawn]
    assert any(shared)  # a random draw never has the same real number


def test_evidence_from_elsewhere_makes_draws_from_priors_rarer(tmp_path: Path, other: Path) -> None:
    sweep = warm(tmp_path, "trial.schedule.lr={loguniform: [0.05, 0.5], prior: 0.1}")
    with Record(tmp_path / "cold", sweep.objectives) as cold, Record(tmp_path / "warm", sweep.objectives) as opened:
        warm_start.take_in(sweep, opened, None, lambda line: None)
        known = Study(sweep, cold).learnt, Study(sweep, opened).learnt
        first = First(sweep, opened)
        asked = [sum(bool(list(first.samplers(number, count))) for number in range(200)) for count in known]
    assert known == (0, 5)
    assert asked[0] > asked[1]


def test_a_sweep_runs_warm_and_goes_on_without_the_folder(tmp_path: Path, other: Path) -> None:
    sweep, folder, lines = warm(tmp_path, "search.trials=1"), tmp_path / "results", list[str]()
    sweeps.run(sweep, folder, "local", write=lines.append)
    assert sum("imported from" in line for line in lines) == 1
    shutil.rmtree(other)
    sweeps.run(warm(tmp_path, "search.trials=2"), folder, "local", write=lines.append)
    snapshot = record.read(folder)
    assert sum("imported from" in line for line in lines) == 1
    assert [trial.outcome for trial in snapshot.trials] == ["complete", "complete"]
    assert len(imported(snapshot.settings)) == 5
    assert max(snapshot.members[-1].trials) < 2


def test_nothing_is_left_behind_where_nothing_fits(tmp_path: Path, other: Path) -> None:
    folder = tmp_path / "results"
    with pytest.raises(UserError, match="nothing of"):
        sweeps.run(warm(tmp_path, "judge.threat.eps=0.2"), folder, "local", write=lambda line: None)
    assert not folder.exists()
