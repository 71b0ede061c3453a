"""Every attack keeps its contracts, and every defense trains with them in every norm."""

from __future__ import annotations

from typing import get_args

import pytest
from torch import nn

from robustray import Step
from robustray.attacks import Attack, Threat
from robustray.attacks.mode import attack_mode
from robustray.attacks.norms import Norm
from robustray.defenses import Defense
from robustray.testing import Contract
from robustray.testing.attacks import THREATS
from tests.robustray.made import batch, every, flags, generator, kept, made, network


@kept("attack")
def test_contract(contract: Contract, part: Attack) -> None:
    contract(part)


def test_every_norm_is_tried() -> None:
    assert set(THREATS) == set(get_args(Norm))


@pytest.mark.parametrize("threat", THREATS.values(), ids=list(THREATS))
@every("defense")
def test_every_defense_trains_in_every_norm(cls: type[Defense], threat: Threat) -> None:
    defense = made(cls)
    model, (x, y) = network(aux_outputs=defense.aux_outputs), batch()
    step = Step(model, x, y, defense.attack_with(None).bind(threat), generator=generator())
    step = defense.prepare(step)
    x_adv = defense.perturb(step)
    loss = defense.loss(step, x_adv).total
    assert threat.inside(x_adv, step.x).all()
    assert loss.isfinite()
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_guard_keeps_a_layer_that_tracks_nothing() -> None:
    """A batch norm without running statistics must not be told to track them when it comes back."""
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.BatchNorm2d(2))
    before = flags(model)
    with attack_mode(model, "train_frozen"):
        assert [m.track_running_stats for m in model] == [False, False]
    assert flags(model) == before
