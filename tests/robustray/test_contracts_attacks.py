"""What every attack promises: safe by construction, whatever model and whatever happens in it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
import torch
from torch import nn

from robustray import Step
from robustray.attacks import Attack, Threat
from robustray.attacks.mode import attack_mode
from robustray.attacks.threats import Norm
from robustray.defenses import Defense
from robustray.training.precision import Autocast
from tests.robustray.made import (
    Boom,
    Fails,
    Passes,
    batch,
    every,
    flags,
    generator,
    made,
    network,
    same,
    state,
    variants,
)

THREAT = Threat(eps=0.1)
RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
threats = pytest.mark.parametrize("threat", [pytest.param(Threat(norm=n, eps=e), id=n) for n, e in RADII.items()])
"""Runs a test in every norm; a promise about the model's state is the same in all of them."""


def test_every_norm_is_tried() -> None:
    assert set(RADII) == set(get_args(Norm))


def moved(attack: Attack) -> bool:
    return attack.mode == "train"


@threats
@variants("attack", "attack")
def test_result_is_inside(attack: Attack, threat: Threat) -> None:
    model, (x, y) = network(), batch()
    x_adv = attack(model, x, y, threat, generator=generator())
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert not torch.equal(x_adv, x)
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[threat.norm]
    assert torch.linalg.vector_norm((x_adv - x).flatten(1), order, dim=1).max() <= threat.eps + 1e-12
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


@variants("attack", "attack")
def test_inputs_stay(attack: Attack) -> None:
    model, (x, y) = network(), batch()
    x_before, y_before = x.clone(), y.clone()
    start = (x + 0.05).clamp(0, 1)
    start_before = start.clone()
    attack(model, x, y, THREAT, start=start, generator=generator())
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)
    assert torch.equal(start, start_before)


@variants("attack", "attack")
@pytest.mark.parametrize("training", [True, False])
def test_state_comes_back(attack: Attack, training: bool) -> None:
    """Weights and buffers bit for bit (buffers move in `train` alone), modes and flags per module, no weight gradient."""
    model, (x, y) = network().train(training), batch()
    model[1].train(not training)  # one layer in another mode than the rest
    model[4].bias.requires_grad_(False)  # one weight frozen beforehand
    before, flags_before = state(model), flags(model)
    frozen: list[bool] = []
    model.register_forward_pre_hook(lambda m, _: frozen.append(not any(p.requires_grad for p in m.parameters())))
    attack(model, x, y, THREAT, generator=generator())
    after = state(model)
    assert frozen
    assert all(frozen)  # no weight asks for a gradient, so that none is formed
    assert flags(model) == flags_before
    assert all(weight.grad is None for weight in model.parameters())
    weights = {name for name, _ in model.named_parameters()}
    assert all(torch.equal(after[name], before[name]) for name in weights)
    assert same(after, before) is not moved(attack)


@variants("attack", "attack")
def test_state_comes_back_after_an_exception(attack: Attack) -> None:
    for at in itertools.count():
        model, (x, y) = Fails(network().train(), at), batch()
        model.model[1].eval()
        model.model[4].bias.requires_grad_(False)
        before, flags_before = state(model), flags(model)
        try:
            attack(model, x, y, THREAT, generator=generator())
        except Boom:
            pass
        else:
            assert at > 0
            break
        assert flags(model) == flags_before
        assert same(state(model), before) or moved(attack)


@variants("attack", "attack")
def test_mode_seen_by_the_model(attack: Attack) -> None:
    model, (x, y) = network().eval(), batch()
    seen: set[bool] = set()
    model[1].register_forward_pre_hook(lambda module, _: seen.add(module.training))
    attack(model, x, y, THREAT, generator=generator())
    assert seen == {attack.mode != "eval"}


@threats
@variants("attack", "attack")
def test_no_radius_gives_the_clean_images_back(attack: Attack, threat: Threat) -> None:
    model, (x, y) = network(), batch()
    assert torch.equal(attack(model, x, y, threat.model_copy(update={"eps": 0.0}), generator=generator()), x)


@threats
@variants("attack", "attack")
def test_equal_seeds_give_equal_images(attack: Attack, threat: Threat) -> None:
    """And the global generator is neither read nor moved, since one was given."""
    model, (x, y) = network(), batch()
    world = torch.get_rng_state()
    first = attack(model, x, y, threat, generator=generator(3))
    assert torch.equal(torch.get_rng_state(), world)
    torch.rand(5)
    assert torch.equal(attack(model, x, y, threat, generator=generator(3)), first)


@threats
@variants("attack", "attack")
def test_declared_passes_are_true(attack: Attack, threat: Threat) -> None:
    model, (x, y) = network(), batch()
    counted = Passes(model)
    attack(model, x, y, threat, generator=generator())
    assert counted.images == attack.passes * len(x)


@threats
@variants("attack", "attack")
def test_bfloat16_network(attack: Attack, threat: Threat) -> None:
    """Pixels and perturbations stay float32, exactly in the ball, where the network runs in bfloat16."""
    model, (x, y) = network(dtype=torch.float32), batch(dtype=torch.float32)
    x_adv = attack(Autocast(model), x, y, threat, generator=generator())
    assert x_adv.dtype == torch.float32
    assert not threat.violated(x_adv, x)


@threats
@variants("attack", "attack")
def test_broken_models_are_noticed(attack: Attack, threat: Threat) -> None:
    """Outside training a NaN raises at once; in training it sets the flag, and nothing else does."""
    model, (x, y) = network(), batch()
    flag = torch.zeros((), dtype=torch.bool)
    attack(model, x, y, threat, generator=generator(), violations=flag)
    assert not flag
    with torch.no_grad():
        next(iter(model[4].parameters())).fill_(torch.nan)
    with pytest.raises(ValueError, match="finite"):
        attack(model, x, y, threat, generator=generator())
    attack(model, x, y, threat, generator=generator(), violations=flag)
    assert flag


@variants("attack", "attack")
@pytest.mark.parametrize("shift", [0.01, 3.0, torch.nan])
def test_images_outside_the_range_are_refused(attack: Attack, shift: float) -> None:
    """Also by less than eps, where the projection would mend them without a word."""
    model, (x, y) = network(), batch()
    with pytest.raises(ValueError, match="normalisation"):
        attack(model, x.clamp(0, 1) + shift, y, THREAT, generator=generator())


@threats
@variants("attack", "attack")
def test_the_host_never_waits_for_the_device(attack: Attack, threat: Threat) -> None:
    """In training, where broken promises go to a flag. Tensors without values raise where the host would read one."""
    model, (x, y) = network().to("meta"), batch()
    flag = torch.zeros((), dtype=torch.bool, device="meta")
    attack = attack.model_copy(update={"steps": 2})  # tensors without values are slow
    x_adv = attack(model, x.to("meta"), y.to("meta"), threat, violations=flag)
    assert x_adv.shape == x.shape


@threats
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
