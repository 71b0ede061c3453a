"""Schedules against torch's own and their formulas, at every step."""

from __future__ import annotations

import math

import pytest
import torch

from robustray.training import Cosine, OneCycle


@pytest.mark.parametrize("total", [2, 3, 5, 13, 40, 1001])
@pytest.mark.parametrize("warmup", [0.05, 0.3, 0.45, 0.9])
def test_one_cycle_equals_torch(total: int, warmup: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([weight], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=0.4,
        total_steps=total,
        pct_start=warmup,
        div_factor=25,
        final_div_factor=1e4,
        cycle_momentum=False,
    )
    schedule = OneCycle(lr=0.4, warmup=warmup)
    for step in range(total):
        assert 0.4 * schedule.factor(step, total) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9, abs=1e-12), step
        optimiser.step()
        if step < total - 1:
            theirs.step()


@pytest.mark.parametrize(("total", "warmup"), [(10, 0.1), (2, 0.5), (4, 0.25), (5, 0.2)])
def test_one_cycle_of_which_the_first_step_is_the_peak(total: int, warmup: float) -> None:
    """Here torch's own divides zero by zero."""
    rates = [OneCycle(warmup=warmup).factor(step, total) for step in range(total)]
    assert rates[0] == 1
    assert rates[-1] == pytest.approx(1 / 25 / 1e4)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_cosine(total: int) -> None:
    for step in range(total):
        assert Cosine().factor(step, total) == pytest.approx((1 + math.cos(math.pi * step / total)) / 2, abs=1e-15)
    assert Cosine().factor(0, total) == 1
