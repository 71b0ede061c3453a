"""What every attack promises: safe by construction, whatever model and whatever happens in it."""

from __future__ import annotations

import itertools

import torch

from robustray.attacks.base import Attack
from robustray.attacks.norms import Norm
from robustray.attacks.threats import Threat
from robustray.testing.made import Boom, Fails, Passes, batch, flags, generator, network, same, state
from robustray.testing.suite import contract, raises
from robustray.training.precision import Autocast

THREAT = Threat(eps=0.1)
RADII: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
THREATS: dict[str, Threat] = {norm: Threat(norm=norm, eps=eps) for norm, eps in RADII.items()}
"""Every norm, with a radius that matters in it."""
ORDERS: dict[Norm, float] = {"linf": torch.inf, "l2": 2, "l1": 1}


@contract("attack", threat=THREATS)
def result_is_inside(attack: Attack, threat: Threat) -> None:
    """x' is in the ball and in [0, 1], of x's shape and type, a constant, and not x."""
    model, (x, y) = network(), batch()
    x_adv = attack(model, x, y, threat, generator=generator())
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert not torch.equal(x_adv, x)
    length = torch.linalg.vector_norm((x_adv - x).flatten(1), ORDERS[threat.norm], dim=1).max().item()
    assert length <= threat.eps + 1e-12, f"x' is {length} away from x, eps is {threat.eps}"
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


@contract("attack")
def inputs_stay(attack: Attack) -> None:
    """Images, labels and the start are not written to."""
    model, (x, y) = network(), batch()
    x_before, y_before = x.clone(), y.clone()
    start = (x + 0.05).clamp(0, 1)
    start_before = start.clone()
    attack(model, x, y, THREAT, start=start, generator=generator())
    assert torch.equal(x, x_before)
    assert torch.equal(y, y_before)
    assert torch.equal(start, start_before)


@contract("attack", training={"training": True, "eval": False})
def state_comes_back(attack: Attack, training: bool) -> None:
    """Weights and buffers bit for bit (buffers move in mode `train` alone), modes and flags per module, no weight gradient."""
    model, (x, y) = network().train(training), batch()
    model[1].train(not training)  # one layer in another mode than the rest
    model[4].bias.requires_grad_(False)  # one weight frozen beforehand
    before, flags_before = state(model), flags(model)
    frozen: list[bool] = []
    model.register_forward_pre_hook(lambda m, _: frozen.append(not any(p.requires_grad for p in m.parameters())))
    attack(model, x, y, THREAT, generator=generator())
    after = state(model)
    assert frozen
    assert all(frozen), "a weight asks for a gradient, which would be formed for nothing"
    assert flags(model) == flags_before
    assert all(weight.grad is None for weight in model.parameters())
    weights = {name for name, _ in model.named_parameters()}
    assert all(torch.equal(after[name], before[name]) for name in weights)
    assert same(after, before) is not (attack.mode == "train")


@contract("attack")
def state_comes_back_after_an_exception(attack: Attack) -> None:
    """Wherever in an attack a model fails, its modes, flags and buffers are what they were."""
    attack = _short(attack)
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
        assert same(state(model), before) or attack.mode == "train"


@contract("attack")
def mode_is_seen_by_the_model(attack: Attack) -> None:
    """The model is in the mode that the attack's options say."""
    model, (x, y) = network().eval(), batch()
    seen: set[bool] = set()
    model[1].register_forward_pre_hook(lambda module, _: seen.add(module.training))
    attack(model, x, y, THREAT, generator=generator())
    assert seen == {attack.mode != "eval"}


@contract("attack", threat=THREATS)
def no_radius_gives_the_clean_images_back(attack: Attack, threat: Threat) -> None:
    """With eps = 0, x' is x, bit for bit."""
    model, (x, y) = network(), batch()
    assert torch.equal(attack(model, x, y, threat.model_copy(update={"eps": 0.0}), generator=generator()), x)


@contract("attack", threat=THREATS)
def equal_seeds_give_equal_images(attack: Attack, threat: Threat) -> None:
    """And the global generator is neither read nor moved, where one was given."""
    model, (x, y) = network(), batch()
    world = torch.get_rng_state()
    first = attack(model, x, y, threat, generator=generator(3))
    assert torch.equal(torch.get_rng_state(), world)
    torch.rand(5)
    assert torch.equal(attack(model, x, y, threat, generator=generator(3)), first)


@contract("attack")
def starts_are_all_that_is_drawn(attack: Attack) -> None:
    """With the starts that it would draw, it does what it does by itself, and draws nothing."""
    model, (x, y) = network(), batch()
    starts, other = attack.starts(x, THREAT, generator(3)), generator(5)
    before = other.get_state()
    found = attack(model, x, y, THREAT, start=starts, generator=other)
    assert torch.equal(other.get_state(), before), "it draws although it was given its starts"
    assert torch.equal(found, attack(model, x, y, THREAT, generator=generator(3)))


@contract("attack", threat=THREATS)
def declared_passes_are_true(attack: Attack, threat: Threat) -> None:
    """`passes` is what hooks on the model count."""
    model, (x, y) = network(), batch()
    counted = Passes(model)
    attack(model, x, y, threat, generator=generator())
    assert counted.images == attack.passes * len(x), f"{counted.images / len(x)} passes per image, not {attack.passes}"


@contract("attack", threat=THREATS)
def bfloat16_network(attack: Attack, threat: Threat) -> None:
    """Pixels and perturbations stay float32, exactly in the ball, where the network runs in bfloat16."""
    model, (x, y) = network(dtype=torch.float32), batch(dtype=torch.float32)
    x_adv = attack(Autocast(model), x, y, threat, generator=generator())
    assert x_adv.dtype == torch.float32
    assert not threat.violated(x_adv, x)


@contract("attack", threat=THREATS)
def broken_models_are_noticed(attack: Attack, threat: Threat) -> None:
    """Outside training a NaN raises at once; in training it sets the flag, and nothing else does."""
    model, (x, y) = network(), batch()
    flag = torch.zeros((), dtype=torch.bool)
    attack(model, x, y, threat, generator=generator(), violations=flag)
    assert not flag
    with torch.no_grad():
        next(iter(model[4].parameters())).fill_(torch.nan)
    with raises(ValueError, saying="finite"):
        attack(model, x, y, threat, generator=generator())
    attack(model, x, y, threat, generator=generator(), violations=flag)
    assert flag


@contract("attack", shift={"0.01": 0.01, "3": 3.0, "nan": torch.nan})
def images_outside_the_range_are_refused(attack: Attack, shift: float) -> None:
    """Also by less than eps, where the projection would mend them without a word."""
    model, (x, y) = network(), batch()
    with raises(ValueError, saying="normalisation"):
        attack(model, x.clamp(0, 1) + shift, y, THREAT, generator=generator())


@contract("attack", threat=THREATS)
def the_host_never_waits_for_the_device(attack: Attack, threat: Threat) -> None:
    """In training, where broken promises go to a flag. Tensors without values raise where the host would read one."""
    model, (x, y) = network().to("meta"), batch()
    flag = torch.zeros((), dtype=torch.bool, device="meta")
    x_adv = _short(attack)(model, x.to("meta"), y.to("meta"), threat, violations=flag)
    assert x_adv.shape == x.shape


def _short(attack: Attack) -> Attack:
    """Of two steps, where it has steps: tensors without values are slow, and so is failing at every pass in turn."""
    return attack.model_copy(update={"steps": 2}) if "steps" in type(attack).model_fields else attack
