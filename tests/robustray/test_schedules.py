"""Schedules against torch's own and their formulas, at every step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from robustray.training import Constant, Cosine, Cyclic, Late, MultiStep, OneCycle


def one_parameter() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)


@pytest.mark.parametrize("total", [2, 3, 5, 13, 40, 1001])
@pytest.mark.parametrize("warmup", [0.05, 0.3, 0.45, 0.9])
def test_one_cycle_equals_torch(total: int, warmup: float) -> None:
    """The rate, and the momentum that torch cycles by default, as a swing around 0.9."""
    optimiser = one_parameter()
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=0.4, total_steps=total, pct_start=warmup, div_factor=25, final_div_factor=1e4
    )
    schedule = OneCycle(lr=0.4, warmup=warmup, momentum_swing=0.05)
    for step in range(total):
        assert 0.4 * schedule.factor(step, total) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-12), step
        momentum = optimiser.param_groups[0]["momentum"]
        assert 0.9 + schedule.momentum_shift(step, total) == pytest.approx(momentum, rel=1e-9), step
        optimiser.step()
        if step < total - 1:
            theirs.step()


@pytest.mark.parametrize(("total", "warmup"), [(10, 0.1), (2, 0.5), (4, 0.25), (5, 0.2)])
def test_one_cycle_of_which_the_first_step_is_the_peak(total: int, warmup: float) -> None:
    """Here torch's own divides zero by zero."""
    schedule = OneCycle(warmup=warmup, momentum_swing=0.05)
    rates = [schedule.factor(step, total) for step in range(total)]
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)
    assert rates == sorted(rates, reverse=True)
    swings = [schedule.momentum_shift(step, total) for step in range(total)]
    assert swings[0] == -0.05
    assert swings[-1] == pytest.approx(0.05)
    assert OneCycle(warmup=warmup).momentum_shift(0, total) == 0


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_cosine(total: int) -> None:
    for step in range(total):
        assert Cosine().factor(step, total) == pytest.approx((1 + math.cos(math.pi * step / total)) / 2, abs=1e-15)
    assert Cosine().factor(0, total) == 1


def test_smooth_ones_end_low_and_never_jump() -> None:
    for schedule in (Cosine(), OneCycle(), Cyclic(cycles=1), Cyclic(cycles=4)):
        rates = [schedule.factor(step, 2000) for step in range(2000)]
        assert rates[-1] < 0.01
        assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.02


@given(st.integers(1, 500))
def test_constant(total: int) -> None:
    assert {Constant().factor(step, total) for step in range(total)} == {1.0}


@pytest.mark.parametrize(
    ("schedule", "epochs"),
    [(MultiStep(), (60, 90, 120)), (Late(), (140, 145)), (MultiStep(drop=0.316), (60, 90, 120))],
)
def test_multi_step_equals_torch(schedule: MultiStep, epochs: tuple[int, ...]) -> None:
    """With the published epochs out of 150, at every step of every epoch."""
    per_epoch = 7
    optimiser = one_parameter()
    theirs = torch.optim.lr_scheduler.MultiStepLR(optimiser, [per_epoch * e for e in epochs], gamma=schedule.drop)
    for step in range(150 * per_epoch):
        assert schedule.factor(step, 150 * per_epoch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-12), step
        optimiser.step()
        theirs.step()


@given(st.lists(st.integers(1, 999), min_size=1, max_size=5, unique=True), st.integers(1, 10_000))
def test_multi_step_counts_milestones(thousandths: list[int], total: int) -> None:
    milestones = tuple(sorted(value / 1000 for value in thousandths))
    schedule = MultiStep(milestones=milestones, drop=0.5)
    for step in {0, total // 3, total // 2, total - 1}:
        passed = sum(step >= round(milestone * total) for milestone in milestones)
        assert schedule.factor(step, total) == 0.5**passed


@pytest.mark.parametrize("milestones", [(), (0.5, 0.5), (0.6, 0.5), (0.0,), (1.0,), (150,)])
def test_milestones_that_are_none(milestones: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="milestones"):
        MultiStep(milestones=milestones)


@pytest.mark.parametrize("cycles", [1, 2, 4])
@pytest.mark.parametrize("total", [4, 7, 39, 40, 1000])
def test_cyclic_is_a_chain_of_triangles(cycles: int, total: int) -> None:
    """Through 0 at the ends of every cycle and 1 in its middle, linear between."""
    knots = np.linspace(0, 1, 2 * cycles + 1)
    heights = np.array([0.0, 1.0] * cycles + [0.0])
    times = (np.arange(total) + 1) / (total + 1)
    found = [Cyclic(cycles=cycles).factor(step, total) for step in range(total)]
    np.testing.assert_allclose(found, np.interp(times, knots, heights), atol=1e-9)


def test_more_cycles_than_epochs() -> None:
    with pytest.raises(ValueError, match="at most epochs, which is 3, not 4"):
        Cyclic(cycles=4, epochs=3)


@pytest.mark.parametrize("warmup", [3, 0.3])
@pytest.mark.parametrize("rising", [2, 7])
def test_warm_up_equals_torch(warmup: float, rising: int) -> None:
    """LinearLR chained with the schedule: milestones and the cosine stay where they are."""
    total = 10 * rising
    steps = 3 * rising
    for name, schedule in {
        "multi_step": MultiStep(epochs=10, lr=0.4, warmup=warmup, milestones=(0.2, 0.5)),
        "cosine": Cosine(epochs=10, lr=0.4, warmup=warmup),
        "constant": Constant(epochs=10, lr=0.4, warmup=warmup),
    }.items():
        optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
        scheduler = torch.optim.lr_scheduler
        then: list[torch.optim.lr_scheduler.LRScheduler] = [
            scheduler.LinearLR(optimiser, start_factor=1 / steps, total_iters=steps - 1)
        ]
        if name == "multi_step":
            then.append(scheduler.MultiStepLR(optimiser, [total // 5, total // 2], gamma=0.1))
        for step in range(total):
            theirs = optimiser.param_groups[0]["lr"]
            if name == "cosine":  # torch's own goes by differences, so it is taken in closed form
                theirs *= (1 + math.cos(math.pi * step / total)) / 2
            assert schedule.rate(step, total) == pytest.approx(theirs, rel=1e-9), (name, step)
            optimiser.step()
            for each in then:
                each.step()


def test_without_a_warm_up_rates_are_what_they_were() -> None:
    for schedule in (
        Constant(lr=0.1),
        Cosine(lr=0.1),
        MultiStep(lr=0.1),
        Cyclic(lr=0.1),
        OneCycle(lr=0.1),
        Late(lr=0.1),
    ):
        assert schedule.rising(997) == 0
        assert all(schedule.rate(step, 997) == schedule.lr * schedule.factor(step, 997) for step in range(997))


@pytest.mark.parametrize(("epochs", "warmup"), [(1, 1), (30, 30), (30, 31.5)])
def test_a_warm_up_that_never_ends_is_refused(epochs: int, warmup: float) -> None:
    with pytest.raises(ValidationError, match=f"must end before training does: .*{epochs} epochs"):
        Cosine(epochs=epochs, warmup=warmup)
    Cosine(epochs=epochs, warmup=0.99)
