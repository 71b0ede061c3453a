"""The comparison of two searches on images: who is a member, what members are worth, what a trial is said to have taken."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
from _image_sides import Finished, _Clocked, finished_by_plain, plain
from search_images import members, space, volume

from sweeps.running.queues import DONE, End, Job, Result, Signal, Verdict
from sweeps.space import Sweep

TINY = {
    "name": "tiny",
    "judge": {"data": "digits", "threat": {"norm": "linf", "eps": 0.1}, "trials": "none"},
    "trial": {
        "batch": {"size": 300},
        "model": {"name": "small_cnn", "width": 1},
        "defense": {"choice": ["natural", {"name": "trades", "beta": {"loguniform": [0.1, 10]}}]},
        "attack": {"steps": 1},
        "schedule": {"epochs": 1, "lr": {"loguniform": [0.01, 0.1]}},
    },
}


def done(clean: float, robust: float) -> Finished:
    return Finished(Path(f"{clean}-{robust}"), 1.0, (clean, robust), {})


def test_members_are_those_that_no_other_dominates_and_equals_stay() -> None:
    trials = [done(0.4, 0.1), done(0.3, 0.2), done(0.3, 0.1), done(0.4, 0.1), done(0.2, 0.2)]
    assert members(trials) == [trials[0], trials[1], trials[3]]


def test_a_score_is_the_area_above_a_tenth_clean_and_nothing_robust() -> None:
    rows = pd.DataFrame(
        {
            "validation_clean": [0.3, 0.5, 0.05],
            "validation_pgd": [0.2, 0.1, 0.9],
            "test_clean": [0.3, None, None],
            "test_autoattack": [0.1, None, None],
        }
    )
    assert volume(rows, "validation") == pytest.approx(0.2 * 0.2 + 0.2 * 0.1)
    assert volume(rows, "test") == pytest.approx(0.2 * 0.1)


class _Told:
    """A queue of two jobs on one trial, which keeps what it is told."""

    def __init__(self) -> None:
        self.jobs = [Job("to the rung", 3, {}), Job("to the end", 3, {})]
        self.ends: list[End] = []

    def next(self) -> Job | Signal:
        return self.jobs.pop(0) if self.jobs else DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.ends.append(end)


def test_waiting_costs_nothing_and_a_trial_costs_all_its_jobs() -> None:
    told = _Told()
    queue = _Clocked(told, {3: 100.0})
    begun = time.process_time()
    while isinstance(job := queue.next(), Job):
        time.sleep(0.05)
        queue.finish(job, End("complete", result={"cost_seconds": 1e6, "device_seconds": 1e6}, device_seconds=1e6))
    first, second = told.ends
    assert first.result["cost_seconds"] == pytest.approx(100 + first.device_seconds)
    assert second.result["cost_seconds"] == pytest.approx(100 + first.device_seconds + second.device_seconds)
    assert 0 <= first.device_seconds + second.device_seconds <= time.process_time() - begun


def test_optuna_search_trains_the_same_again_only_where_nothing_is_known(tmp_path: Path) -> None:
    sweep = Sweep.model_validate(TINY)
    plain(sweep, tmp_path, 1e-9)
    (once,) = finished_by_plain(tmp_path)
    assert set(once.params) <= {each.name for each in sweep.space}
    kept = (tmp_path / "trials/0000/told.json").read_bytes()
    plain(sweep, tmp_path, once.seconds + 0.5 * once.seconds)  # what is left does not pay for another
    assert (tmp_path / "trials/0000/told.json").read_bytes() == kept
    assert len(finished_by_plain(tmp_path)) == 1


def test_both_sides_search_the_space_that_is_shipped(tmp_path: Path) -> None:
    for quick in (False, True):
        sweep = space(tmp_path, 2, quick=quick)
        assert (sweep.search.seed, sweep.trial["seed"]) == (2, 2)
        settled = sweep.settled()
        assert (settled.stopping.name, settled.search.first, sweep.judge.trials) == ("race", "published", "none")
    assert space(tmp_path, 0, quick=False).judge.autoattack
