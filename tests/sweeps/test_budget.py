"""What ends a search besides the number of trials: time, device time, money, and a frontier that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import budgets
from robustray.errors import UserError
from sweeps import record
from sweeps.driver import drive
from sweeps.events import BudgetLeft, Concluded, Event, Said, TrialEnded
from sweeps.frontier import attained
from sweeps.record import Record, TrialRecord, ledger, lives
from sweeps.record.constraints import Limit
from sweeps.record.lives import EVERY, Lives
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.stall import Growth
from sweeps.space import Sweep, durations
from tests.sweeps.small import run_quietly, small_sweep

TRAINING = 100.0  # device-seconds of every trial
ALONE = ("judge.trials=none", "search.trials=60")


def _trained(metrics: Callable[[int], Mapping[str, float]]) -> Callable[[Job], Iterator[tuple[float, Report]]]:
    def answers(job: Job) -> Iterator[tuple[float, Report]]:
        told: dict[str, Any] = {"training_iteration": 1, "epoch": 1, "cost_seconds": TRAINING, **metrics(job.number)}
        yield TRAINING / 2, {**told, "done": False}
        yield TRAINING / 2, {**told, "done": True, "outcome": "complete"}

    return answers


def _searched(
    folder: Path,
    *overrides: str,
    slots: int = 1,
    metrics: Callable[[int], Mapping[str, float]] = lambda number: {"clean_accuracy": 0.5, "robust_accuracy": 0.5},
) -> tuple[int, str, float]:
    """A sweep in a simulated place: trials that it has had, what it said of its budget in the end, seconds that passed."""
    sweep = small_sweep(folder.parent, *ALONE, *overrides)
    place, said = Simulated(_trained(metrics), slots), list[str]()

    def tell(event: Event) -> None:
        if isinstance(event, Concluded | Said):
            said.append(event.line)

    with Record(folder, sweep.objectives, constraints=sweep.constraints) as opened:
        assert drive(sweep, opened, lambda: place, tell=tell, clock=lambda: place.now)
        ended = [line for line in said if line.startswith("budget: ")]
        return len(opened.trials()), ended[-1] if ended else "", place.now


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize(
    "of",
    [
        lambda seconds: f"budget.device_hours={seconds / 3600}",
        lambda seconds: f"budget.money={{per_device_hour: 7.2, at_most: {seconds / 500}, currency: EUR}}",
    ],
    ids=["device hours", "money"],
)
def test_no_trial_begins_that_the_budget_would_not_pay_for(
    tmp_path: Path, slots: int, of: Callable[[float], str]
) -> None:
    folder = tmp_path / "small"
    trials, said, _ = _searched(folder, of(1030), slots=slots)
    assert trials == 10, "of 100 s each, and not one that would end beyond"
    assert "the rest is kept" in said
    assert ledger.read(folder).total == 1000  # type: ignore[union-attr]
    sheet = small_sweep(tmp_path, of(1030)).resolved()["budget"]
    told = dict(budgets.facts(sheet, record.read(folder), folder))
    assert told["the search ended"] == said.removeprefix("budget: ")
    assert told.get("money", "2.00 of 2.06 EUR, at 7.2 a device-hour") == "2.00 of 2.06 EUR, at 7.2 a device-hour"
    assert _searched(folder, of(1030), slots=slots) == (10, said, 0), "what is spent stays spent"
    assert _searched(folder, of(1530), slots=slots)[0] == 15, "and more of it goes on"


def test_wall_time_is_that_of_all_lives(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    trials, said, seconds = _searched(folder, "budget.wall=17m30s", slots=2)
    assert (trials, seconds) == (20, 1000)
    assert said == "budget: 16m40s of 17m30s spent; the rest is kept: about 1m40s for trials and judging"
    assert lives.read(folder) == 1000
    told = dict(budgets.facts({"wall": 1050.0, "stall": None}, record.read(folder), folder))
    assert told == {"wall time": "16 min 40 s of 17 min 30 s", "the search ended": said.removeprefix("budget: ")}
    trials, _, seconds = _searched(folder, "budget.wall=35m30s", slots=2)
    assert (trials, seconds) == (42, 1100), "as many as end by 2130 s"
    assert lives.read(folder) == 2100


def test_a_budget_that_is_too_small_for_one_trial_gives_one(tmp_path: Path) -> None:
    """Nothing is known of what a trial takes before one has ended."""
    assert _searched(tmp_path / "small", "budget.device_hours=0.001")[0] == 1


def test_trials_that_were_at_work_are_finished(tmp_path: Path) -> None:
    """All four slots begin before anything is known."""
    trials, said, seconds = _searched(tmp_path / "small", "budget.device_hours=0.001", slots=4)
    assert (trials, seconds) == (4, 100)
    assert said == "budget: 0.0694 of 0.001 device-hours spent", (
        "of the first that had ended, and half of each of the others"
    )
    with Record(tmp_path / "small", {"clean_accuracy": "max", "robust_accuracy": "max"}) as opened:
        assert {trial.outcome for trial in opened.trials()} == {"complete"}


def test_a_frontier_that_stands_still_ends_the_search(tmp_path: Path) -> None:
    def metrics(number: int) -> dict[str, float]:
        return {"clean_accuracy": min(number + 1, 6) / 10, "robust_accuracy": 0.5}

    folder = tmp_path / "small"
    trials, said, _ = _searched(folder, "budget.stall={gain: 0.01, trials: 4}", metrics=metrics)
    assert trials == 6 + 4, "the sixth is the last that is better, and four after it are not"
    assert said == "budget: the last 4 trials added 0 to the hypervolume, less than 0.01"
    told = dict(budgets.facts({"stall": {"gain": 0.01, "trials": 4}}, record.read(folder), folder))
    assert told["the search ended"] == said.removeprefix("budget: ")
    assert _searched(folder, "budget.stall={gain: 0.01, trials: 4}", metrics=metrics)[0] == 10
    assert _searched(folder, "budget.stall={gain: 0.01, trials: 7}", metrics=metrics)[0] == 13


def test_what_is_left_is_said_with_every_trial(tmp_path: Path) -> None:
    sweep, said = small_sweep(tmp_path, *ALONE, "budget.device_hours=0.1", "search.trials=2"), list[Event]()
    place = Simulated(_trained(lambda number: {"clean_accuracy": 0.5, "robust_accuracy": 0.5}))
    with Record(tmp_path / "small", sweep.objectives) as opened:
        drive(sweep, opened, lambda: place, tell=said.append, clock=lambda: place.now)
    last = said.index(next(event for event in said if isinstance(event, TrialEnded) and event.done == 2))
    before = [event.line for event in said[:last] if isinstance(event, BudgetLeft)]
    assert before[-1] == "0.0556 of 0.1 device-hours"
    assert said[-1] == Concluded("budget: 0.0556 of 0.1 device-hours; none was spent before the trials were")


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("budget.wall=soon", "no length of time"),
        ("budget.wall=0", "more than 0"),
        ("budget.wall=true", "takes a length of time"),
        ("budget.device_hour=3", "did you mean 'device_hours'"),
        ("budget.money={at_most: 3}", "budget.money.per_device_hour: is missing"),
        ("budget.stall={gain: 0}", "budget.stall.gain"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, override: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        small_sweep(tmp_path, override)


def test_a_budget_is_no_part_of_what_a_sweep_is(tmp_path: Path) -> None:
    plain = small_sweep(tmp_path)
    limited = small_sweep(tmp_path, "budget.wall=90m", "budget.stall.trials=3")
    assert limited.budget.wall == 5400
    assert limited.space_hash == plain.space_hash
    assert Sweep.model_validate(limited.resolved()).budget == limited.budget
    before = {key: value for key, value in plain.resolved().items() if key != "budget"}
    assert limited.difference(before) == [], "a folder of before may be given one"


@given(st.integers(1, 300 * 86400))
def test_a_length_is_said_in_its_two_largest_units(length: int) -> None:
    said = durations.seconds(durations.said(length))
    assert 0 <= length - said < max(60, length / 24)


OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max", "cost_seconds": "min"}


@given(
    st.integers(1, 3).flatmap(
        lambda m: st.lists(st.lists(st.integers(0, 8), min_size=m, max_size=m), min_size=1, max_size=12)
    ),
    st.integers(1, 4),
)
def test_growth_is_the_difference_of_two_hypervolumes(rows: list[list[int]], last: int) -> None:
    objectives = dict(list(OBJECTIVES.items())[: len(rows[0])])
    growth = Growth(objectives, {}, last)
    for end in range(1, len(rows) + 1):
        growth.take([_complete(end, dict(zip(objectives, rows[end - 1], strict=True)))])
        values = np.array(rows[:end]) / 8
        worst = {"cost_seconds": values.max(axis=0)[-1]}
        if end <= last:
            assert growth.gain is None
            continue
        whole, before = (attained(values[:n], objectives, worst) for n in (end, end - last))
        gain = growth.gain
        assert gain is not None
        assert gain == pytest.approx(whole - before, abs=1e-12)
        assert gain >= -1e-12


def test_what_is_on_no_frontier_gains_nothing() -> None:
    growth = Growth({"clean_accuracy": "max"}, {"robust_accuracy": Limit(min=0.5)}, 1)
    growth.take([_complete(0, {"clean_accuracy": 4, "robust_accuracy": 8})])
    growth.take([_complete(1, {"clean_accuracy": 8, "robust_accuracy": 1}), TrialRecord(2, {}, "diverged")])
    assert growth.gain == 0
    growth.take([_complete(3, {"clean_accuracy": 8, "robust_accuracy": 8}, replicate_of=0)])
    assert growth.gain == 0, "a replicate is no new setting, and none that counts"


def _complete(number: int, eighths: Mapping[str, int], replicate_of: int | None = None) -> TrialRecord:
    metrics = {name: value / 8 for name, value in eighths.items()}
    origin = "sampled" if replicate_of is None else "replicate"
    return TrialRecord(number, {}, "complete", metrics, replicate_of=replicate_of, origin=origin)  # type: ignore[arg-type]


def test_a_life_that_is_killed_counts_as_far_as_it_was_written_down(tmp_path: Path) -> None:
    now = [0.0]
    first = Lives(tmp_path, "first", clock=lambda: now[0]).__enter__()
    for now[0] in (EVERY / 2, EVERY + 1, EVERY + 2):
        first.beat()
    assert first.seconds == EVERY + 2
    assert lives.read(tmp_path) == EVERY + 1
    with (tmp_path / lives.FILE).open("a") as file:
        file.write("first,2026")  # killed while it wrote
    with Lives(tmp_path, "second", clock=lambda: now[0]) as second:
        now[0] += 5
        assert second.seconds == EVERY + 6
    assert second.seconds == lives.read(tmp_path) == EVERY + 6


def test_a_real_sweep_ends_by_each_budget_and_goes_on_with_more(tmp_path: Path) -> None:
    folder, quick = tmp_path / "small", ("trial.schedule.epochs=1", "judge.images={validation: 20, test: 20}")
    for override, trials in [
        ("budget.device_hours=1e-6", 1),
        ("budget.money={per_device_hour: 1, at_most: 1e-6}", 1),
        ("budget.stall={gain: 1, trials: 1}", 2),
        ("budget.wall=0.001", 2),
        ("budget.wall=1h", 3),
    ]:
        sweep = small_sweep(tmp_path, *quick, "search.trials=3", override)
        assert run_quietly(sweep, folder)
        found = record.read(folder)
        assert len(found.trials) == trials, override
        assert {trial.outcome for trial in found.trials} == {"complete"}
        assert found.members
        assert all((number, "test") in found.judged for number in found.members[-1].trials), (
            "judged and tested as usual"
        )
