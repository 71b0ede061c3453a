"""Samplers: what they promise of the points they draw, and that a resumed search draws the same."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from sweeps import record
from sweeps.running.queues import DONE, End, Job
from sweeps.search.controller import Controller
from sweeps.search.sampling import Sobol, at, population, sampler
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from sweeps.space.searching import Search
from tests.sweeps.small import small_sweep

NAMES = [name for name in get_args(Search.model_fields["sampler"].annotation) if name != "grid"]
COSTS = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}
TWO = (
    "trial.defense={choice: [{name: trades, beta: {loguniform: [0.5, 20]}}, natural]}",
    "trial.schedule.lr={uniform: [0.01, 0.2]}",
)


def params(folder: Path, sweep: Sweep, lives: int) -> list[dict[str, Any]]:
    """What a search of a made-up trade-off draws, in so many trials a life."""
    done: Any = None
    while done is not DONE:
        with record.Record(folder, sweep.objectives) as opened:
            controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
            for _ in range(lives):
                done = controller.next()
                if done is DONE:
                    break
                assert isinstance(done, Job)
                trial = opened.trial(opened.trials()[-1].number)
                beta = float(trial.params.get("defense.trades.beta", 0.1))
                clean, robust = 1 / (1 + beta / 20), beta / (beta + 5) - 4 * (trial.params["schedule.lr"] - 0.1) ** 2
                controller.finish(
                    done, End("complete", None, {"clean_accuracy": clean, "robust_accuracy": max(robust, 0.0), **COSTS})
                )
    return [dict(trial.params) for trial in record.read(folder).trials]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.faults] if name == "gp" else []) for name in NAMES]
)
def test_a_resumed_search_draws_what_it_would_have_drawn(name: str, tmp_path: Path) -> None:
    trials = 12 if name == "gp" else 18  # two by its model, which takes a second
    sweep = small_sweep(tmp_path / "space", *TWO, f"search.sampler={name}", f"search.trials={trials}")
    drawn = params(tmp_path / "whole", sweep, 10**6)
    assert len(drawn) == trials
    assert params(tmp_path / "killed", sweep, 5) == drawn
    assert {each["defense"] for each in drawn} == {"trades", "natural"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("random", "qmc", "gp")])
def test_who_learns_comes_nearer_to_the_best(name: str, tmp_path: Path) -> None:
    """The learning rate has one best value, whatever is traded off: later trials lie nearer to it than the first."""
    sweep = small_sweep(
        tmp_path / "space",
        "trial.defense={name: trades, beta: {loguniform: [0.5, 20]}}",
        "trial.schedule.lr={uniform: [0.01, 0.9]}",
        f"search.sampler={name}",
        "search.trials=40",
    )
    away = [abs(each["schedule.lr"] - 0.1) for each in params(tmp_path / "record", sweep, 10**6)]
    assert np.mean(away[-15:]) < np.mean(away[:10])


@pytest.mark.parametrize("log", [3, 4])
@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_sequence_has_one_point_in_each_part_of_every_range(seed: int, log: int) -> None:
    """The first 2^k points, in any number of dimensions: one in each of 2^k equal parts of [0, 1)."""
    names, count = ["a", "b", "c"], 2**log
    points = [Sobol(names, seed, number)._point for number in range(count)]
    for name in names:
        assert sorted(int(point[name] * count) for point in points) == list(range(count))


DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(1e-3, 10.0, log=True),
    FloatDistribution(0.0, 1.0, step=0.25),
    IntDistribution(2, 5),
    IntDistribution(1, 9, step=4),
    IntDistribution(1, 1000, log=True),
    CategoricalDistribution(("a", "b", "c")),
]


@given(share=st.floats(0, 1, exclude_max=True), which=st.sampled_from(DISTRIBUTIONS))
def test_a_share_is_a_value_of_the_distribution(share: float, which: BaseDistribution) -> None:
    value = at(share, which)
    assert which._contains(which.to_internal_repr(value))
    if not isinstance(which, CategoricalDistribution):
        assert at(0, which) <= value <= at(math.nextafter(1, 0), which)


def test_shares_in_closed_form() -> None:
    assert [at(share, FloatDistribution(-1.0, 3.0)) for share in (0, 0.5)] == [-1, 1]
    assert at(0.5, FloatDistribution(1e-3, 10.0, log=True)) == pytest.approx(0.1)
    steps = FloatDistribution(0.0, 1.0, step=0.25)
    assert [at(k / 5 + 0.01, steps) for k in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert [at(k / 4 + 0.01, IntDistribution(2, 5)) for k in range(4)] == [2, 3, 4, 5]
    assert [at(k / 3 + 0.01, IntDistribution(1, 9, step=4)) for k in range(3)] == [1, 5, 9]
    assert [at(k / 3 + 0.01, CategoricalDistribution(("a", "b", "c"))) for k in range(3)] == ["a", "b", "c"]


def test_generations_fit_into_the_budget(tmp_path: Path) -> None:
    assert [population(trials) for trials in (6, 24, 60, 120, 1000)] == [8, 8, 10, 20, 50]
    sweep = small_sweep(tmp_path / "space", "search.sampler=nsga2", "search.trials=120")
    found = sampler(sweep, 0)
    assert isinstance(found, optuna.samplers.NSGAIISampler)
    assert found.population_size == 20
