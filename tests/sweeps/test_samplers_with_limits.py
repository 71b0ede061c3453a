"""What every sampler is told where a search has limits, and trials diverge or are stopped: a number for every limit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from sweeps.record import Issued, Record
from sweeps.record.constraints import shares
from sweeps.running.queues import End, Job
from sweeps.search.controller import Controller
from sweeps.search.stopping import policy
from sweeps.search.study import Study
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, small_sweep

SAMPLERS = ("random", "tpe", "nsga2", "nsga3", "gp", "qmc", "grid")
LIMITS = "constraints={robust_accuracy: {min: 0.9}, cost_passes: {max: 2.0e+6}}"
LONG = SPACE.replace("epochs: 3", "epochs: 12")
GRID = LONG.replace("{loguniform: [0.1, 20]}", "{choice: [0.5, 1, 2, 4, 8, 16]}").replace(
    "{loguniform: [0.05, 0.5]}", "{choice: [0.1, 0.2, 0.4]}"
)
PAUSES = "stopping={name: pareto_halving, rungs: [4, 8], keep_paused: 1}"


def told(study: Study) -> list[FrozenTrial]:
    """Trials of which the sampler has numbers."""
    return [trial for trial in study._study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]


def ended(job: Job, chance: random.Random) -> End:
    until = job.work.get("until", 12)
    costs = {"cost_seconds": 1.0 * until, "cost_device_hours": until / 3600, "cost_passes": 1e5 * until}
    if chance.random() < 0.2:
        return End("diverged", "the loss is nan", {"epoch": 1, **costs})
    values = {"clean_accuracy": chance.uniform(0.4, 0.9), "robust_accuracy": chance.uniform(0.1, 0.6), **costs}
    return End("paused" if "until" in job.work else "complete", None, {"epoch": until, **values})


@pytest.mark.parametrize("pauses", [PAUSES, "stopping=none"], ids=["stopped", "to the end"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_is_lost_to_failures_and_limits(tmp_path: Path, sampler: str, pauses: str) -> None:
    """A sampler that fits a model to each limit needs as many numbers of every trial, and a resumed one the same ones."""
    text, trials = (GRID if sampler == "grid" else LONG), 6 if pauses is PAUSES else 12
    sweep = small_sweep(
        tmp_path / "space", LIMITS, pauses, f"search.sampler={sampler}", f"search.trials={trials}", text=text
    )
    chance = random.Random(1)  # of which the third trial diverges
    with Record(tmp_path / "record", sweep.objectives, constraints=sweep.constraints) as record:
        controller = Controller(sweep, record, policy(sweep), lambda event: None, session="one")
        while isinstance(job := controller.next(), Job):
            controller.finish(job, ended(job, chance))
        outcomes = {trial.outcome for trial in record.trials()}
        assert outcomes >= {"complete", "diverged"} | ({"stopped"} if pauses is PAUSES else set())
        before = [(trial.values, trial.constraints) for trial in told(controller.study)]
        assert len(before) == len(record.trials())
        assert all(list(limits) == list(sweep.constraints) for _, limits in before), (
            "in one order, for a matrix of them"
        )
        read = Study(sweep, record)
        assert [(trial.values, trial.constraints) for trial in told(read)] == before


def test_a_trial_that_failed_is_further_outside_than_any_that_came_to_its_end(tmp_path: Path) -> None:
    """With a floor that nobody has met, the good ones are those that miss it least: never the ones that diverged."""
    sweep = small_sweep(tmp_path / "space", LIMITS)
    with Record(tmp_path / "record", sweep.objectives, constraints=sweep.constraints) as record:
        study, numbers = Study(sweep, record), []
        for outcome, robust in (("diverged", None), ("complete", 0.01), ("failed", None), ("complete", 0.5)):
            number = record.issue(Issued({}))
            study.issued(record.trial(number), {}, {})
            passes = {"cost_passes": 3e6}
            metrics = {} if robust is None else {"clean_accuracy": 0.9, "robust_accuracy": robust, **passes}
            record.finish(number, outcome, metrics=metrics)  # type: ignore[arg-type]
            study.learn(number)
            numbers.append(number)
        off = [sum(max(each, 0.0) for each in trial.constraints.values()) for trial in told(study)]
        assert sorted(numbers, key=lambda at: off[at])[:2] == [3, 1]
        assert off[0] == off[2] == len(sweep.constraints), "1 is the worst there is of each"


def test_a_stopped_trial_misses_what_its_rung_misses_and_costs_what_its_whole_training_would(tmp_path: Path) -> None:
    """Beside trials that were trained to their end, a half of one would keep to any limit of costs."""
    sweep = small_sweep(tmp_path / "space", LIMITS, "objectives={robust_accuracy: max, cost_passes: min}", text=LONG)
    with Record(tmp_path / "record", sweep.objectives, constraints=sweep.constraints) as record:
        study = Study(sweep, record)
        number = record.issue(Issued({}))
        study.issued(record.trial(number), {}, {})
        rung: dict[str, Any] = {"clean_accuracy": 0.7, "robust_accuracy": 0.45, "cost_passes": 1e6}
        record.send(number, 0, epoch=4, epochs=12)
        record.rung(number, 0, epoch=4, metrics=rung, seconds=1.0)
        record.finish(number, "stopped", metrics=rung, epoch=4, cause="the budget was spent")
        study.learn(number)
        (trial,) = told(study)
        assert trial.values == [0.45, pytest.approx(3e6)]
        assert trial.constraints == pytest.approx(
            shares({"robust_accuracy": 0.45, "cost_passes": 3e6}, sweep.constraints)
        )


def test_trials_without_limits_have_none(tmp_path: Path) -> None:
    sweep: Sweep = small_sweep(tmp_path / "space")
    with Record(tmp_path / "record", sweep.objectives) as record:
        study = Study(sweep, record)
        number = record.issue(Issued({}))
        study.issued(record.trial(number), {}, {})
        record.finish(number, "diverged", metrics={})
        study.learn(number)
        assert not told(study)[0].constraints
