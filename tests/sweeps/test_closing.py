"""Where a budget is of time or money, what cannot come to its end in what is left is not begun, and what waits is finished."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps import record
from sweeps.driver import drive
from sweeps.record import Record, ledger
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.field import Curve, Field, Nothing, Policy, Resume, Start
from sweeps.search.halving import ParetoHalving
from sweeps.search.race import Race
from tests.sweeps import raced, test_pausing
from tests.sweeps.small import small_sweep

WHOLE = 2.0 * raced.EPOCHS[-1]
"""Seconds of every training of these fields."""


def _field(seed: int, seconds: float) -> Field:
    """Trials at all rungs, each of them paused or at its end."""
    rng, order, curves = np.random.default_rng(seed), 0, list[Curve]()
    for number in range(int(rng.integers(9, 14))):
        params, reports = raced.any_setting(rng), []
        for index in range(int(rng.integers(1, 4))):
            clean, robust = np.array(raced.truth(params)) - 0.1 * (2 - index) + rng.normal(0, 0.01, 2)
            reports.append(raced.rung(index, order, float(clean), float(robust)))
            order += 1
        curves.append(raced.curve(number, reports, "complete" if len(reports) == 3 else "paused", params))
    return raced.field(curves, decisions=int(rng.integers(99)), seconds=seconds, budget=1e6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999), st.floats(0, 1.5 * WHOLE), st.sampled_from(["race", "pareto_halving"]))
def test_nothing_is_chosen_that_would_not_come_to_its_end(seed: int, seconds: float, name: str) -> None:
    field = _field(seed, seconds)
    policy: Policy = Race(raced.SPACE, raced.ask) if name == "race" else ParetoHalving()
    left = {curve.number: WHOLE * (1 - curve.share) for curve in field.curves if curve.state == "paused"}
    fits = {number for number, rest in left.items() if rest <= seconds}
    match policy.choose(field):
        case Resume(number):
            assert number in fits or (name == "pareto_halving" and seconds >= WHOLE)
        case Start():
            assert seconds >= WHOLE
        case Nothing():
            assert seconds < WHOLE
            assert not fits
    assert policy.choose(replace(field, seconds=math.inf)) == policy.choose(replace(field, seconds=1e9)), (
        "enough is as good as no bound"
    )


def test_what_a_training_takes_is_known_from_its_first_report(tmp_path: Path) -> None:
    field = _field(0, WHOLE - 1)
    assert field.whole == WHOLE
    assert field.closing
    assert not replace(field, seconds=WHOLE).closing
    assert not replace(field, curves=[], seconds=1.0).closing, "of nothing nothing is known"


def _answers(job: Job, speed: float | None) -> Iterator[tuple[float, Report]]:
    """Trainings that each take their own time, or all the same."""
    for seconds, told in test_pausing.answers(job):
        until = int(told["epoch"])
        begun = {6: 0, 13: 6, test_pausing.EPOCHS: 13}[until]
        own = seconds / (until - begun) if speed is None else speed
        yield own * (until - begun), {**told, "cost_seconds": own * until}


@pytest.mark.parametrize("name", ["race", "pareto_halving"])
@pytest.mark.parametrize(("budget", "seconds"), [("device_hours", 437.0), ("money", 200.0), ("wall", 200.0)])
def test_what_is_stopped_in_the_end_could_not_have_been_finished(
    tmp_path: Path, name: str, budget: str, seconds: float
) -> None:
    """A search in which nothing but time counts: what is left at its end is too little for any that waits."""
    sampler = "auto" if name == "race" else "random"
    amounts = {
        "device_hours": f"{seconds / 3600}",
        "money": f"{{per_device_hour: 3600, at_most: {seconds}}}",
        "wall": f"{seconds}",
    }
    overrides = (f"search.sampler={sampler}", f"stopping.name={name}", f"budget.{budget}={amounts[budget]}")
    sweep = small_sweep(tmp_path, "search.trials=60", *overrides, text=test_pausing.PAUSING)
    place = Simulated(partial(_answers, speed=2.0))
    with Record(tmp_path / "sweep", sweep.objectives) as opened:
        assert drive(sweep, opened, lambda: place, clock=lambda: place.now)
    trials = record.read(tmp_path / "sweep").trials
    spent = ledger.read(tmp_path / "sweep")
    assert spent is not None
    waited = [2.0 * (test_pausing.EPOCHS - trial.trained) for trial in trials if trial.outcome == "stopped"]
    assert waited
    assert spent.total <= seconds, "no more was spent"
    assert seconds - spent.total < min(waited)
    assert sum(trial.outcome == "complete" for trial in trials) >= 1
