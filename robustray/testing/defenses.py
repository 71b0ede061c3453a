"""What every defense promises, with its published attack, and what its loss must be the gradient of."""

from __future__ import annotations

import itertools
import math
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks.base import Attack
from robustray.attacks.losses import smoothed
from robustray.attacks.pgd import Pgd
from robustray.attacks.threats import Threat
from robustray.defenses.base import Defense
from robustray.defenses.step import Step
from robustray.testing.made import Boom, Fails, Passes, batch, flags, generator, network, same, state
from robustray.testing.options import remade
from robustray.testing.suite import contract
from robustray.training.passes import Counted
from robustray.training.precision import Autocast

THREAT = Threat(eps=0.1)
THREATS = {"linf": THREAT, "l2": Threat(norm="l2", eps=0.5), "l1": Threat(norm="l1", eps=3)}
STEPS = 3


def model_of(defense: Defense, **options: Any) -> nn.Sequential:
    return network(aux_outputs=defense.aux_outputs, **options)


def step_of(
    defense: Defense,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    seed: int = 0,
    wanted: Attack | None = None,
    threat: Threat = THREAT,
    targets: Tensor | None = None,
    labels: Tensor | None = None,
) -> Step:
    attack = defense.attack_with(wanted or Pgd(steps=STEPS)).bind(threat)
    return defense.prepare(Step(model, x, y, attack, generator=generator(seed), targets=targets, labels=labels))


def near(x: Tensor) -> Tensor:
    """Images in the ball that no attack made: losses must be right anywhere, not only where an attack ends."""
    noise = torch.rand(x.shape, generator=generator(7), dtype=x.dtype)
    return THREAT.project(x + THREAT.eps * (2 * noise - 1), x)


@contract("defense", threat=THREATS)
def perturbed_images_are_inside(defense: Defense, threat: Threat) -> None:
    """x' is in the ball and in [0, 1], of x's shape and type, a constant; x is not written to."""
    x, y = batch()
    x_before = x.clone()
    step = step_of(defense, model_of(defense), x, y, threat=threat)
    x_adv = defense.perturb(step)
    assert x_adv.shape == step.x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert not threat.violated(x_adv, step.x)
    assert torch.equal(x, x_before)


@contract("defense", mode={"eval": "eval", "train_frozen": "train_frozen"})
def perturbing_changes_nothing_else(defense: Defense, mode: str) -> None:
    """Weights, buffers, modes, flags and the global generator are what they were."""
    model, (x, y) = model_of(defense).train(), batch()
    model[1].eval()
    model[4].bias.requires_grad_(False)
    before, flags_before, world = state(model), flags(model), torch.get_rng_state()
    defense.perturb(step_of(defense, model, x, y, wanted=Pgd.model_validate({"steps": STEPS, "mode": mode})))
    assert same(state(model), before)
    assert flags(model) == flags_before
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), world)


@contract("defense")
def state_comes_back_after_an_exception(defense: Defense) -> None:
    """Wherever in the making of x' a model fails."""
    for at in itertools.count():
        model, (x, y) = Fails(model_of(defense).train(), at), batch()
        model.model[1].eval()
        before, flags_before = state(model), flags(model)
        try:
            defense.perturb(step_of(defense, model, x, y))
        except Boom:
            pass
        else:
            break
        assert flags(model) == flags_before
        assert same(state(model), before)
        model.left = -1
        assert model(x).shape == (6, 5), "an auxiliary head is in sight"


@contract("defense")
def no_radius_gives_the_clean_images_back(defense: Defense) -> None:
    """With eps = 0, x' is x, bit for bit."""
    x, y = batch()
    step = step_of(defense, model_of(defense), x, y, threat=Threat(eps=0))
    assert torch.equal(defense.perturb(step), step.x)


@contract("defense")
def equal_seeds_give_equal_images_and_losses(defense: Defense) -> None:
    """All that is drawn comes from the step's own stream."""
    x, y = batch()
    results = []
    for _ in range(2):
        step = step_of(defense, model_of(defense), x, y, seed=5)
        x_adv = defense.perturb(step)
        results.append((x_adv, defense.loss(step, x_adv).total))
        torch.rand(3)  # the world moves on
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@contract("defense")
def loss_is_in_training_mode_and_reaches_every_weight(defense: Defense) -> None:
    """Its parts are finite scalars, buffers move, every weight has a gradient, images stay."""
    model, (x, y) = model_of(defense).eval(), batch()
    step = step_of(defense, model, x, y)
    x_adv = near(step.x)
    inputs = x.clone(), step.x.clone(), x_adv.clone()
    before = state(model)
    loss = defense.loss(step, x_adv)
    assert loss.parts
    assert all(part.shape == () and part.isfinite() for part in loss.parts.values())
    torch.testing.assert_close(loss.total, torch.stack(list(loss.parts.values())).sum())
    assert not same(state(model), before)  # batch statistics: the buffers moved
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert all(torch.equal(now, then) for now, then in zip((x, step.x, x_adv), inputs, strict=True))
    assert model(x).shape == (6, 5)


@contract("defense")
def gradient_is_that_of_the_loss(defense: Defense) -> None:
    """Against central differences along random directions in weight space, the target of every term moving along.

    What a loss differentiates for itself and then takes for constant stays as it was at the first time.
    """
    model, (x, y) = model_of(defense, smooth=True), batch()
    step = step_of(defense, model, x, y)
    x_adv, weights = near(step.x), list(model.parameters())
    differentiate: Any = torch.autograd.grad
    constant: list[Any] = []

    def once(*tensors: Any, create_graph: bool = False, **options: Any) -> Any:
        if create_graph:
            return differentiate(*tensors, create_graph=True, **options)
        if not constant:
            constant.append(differentiate(*tensors, **options))
        return constant[0]

    with mock.patch.object(torch.autograd, "grad", once):
        defense.loss(step, x_adv).total.backward()  # type: ignore[no-untyped-call]
        stream, h = generator(11), 1e-5
        for _ in range(4):
            direction = [torch.randn(w.shape, generator=stream, dtype=w.dtype) for w in weights]
            along = sum(
                float((w.grad * d).sum()) for w, d in zip(weights, direction, strict=True) if w.grad is not None
            )
            ends = []
            for length in (h, -2 * h):
                with torch.no_grad():
                    for weight, d in zip(weights, direction, strict=True):
                        weight.add_(d, alpha=length)
                ends.append(defense.loss(step, x_adv).total.item())
            with torch.no_grad():
                for weight, d in zip(weights, direction, strict=True):
                    weight.add_(d, alpha=h)
            slope = (ends[0] - ends[1]) / (2 * h)
            assert math.isclose(slope, along, rel_tol=1e-6, abs_tol=1e-8), (
                f"the gradient gives {along}, the loss {slope}"
            )


@contract("defense")
def an_update_may_ask_for_the_gradient_at_the_perturbed_images(defense: Defense) -> None:
    """One backward pass gives both; a loss of differences of x' and constants is smooth in x' as well."""
    model, (x, y) = model_of(defense, smooth=True), batch()
    step = step_of(defense, model, x, y)
    x_adv = near(step.x).requires_grad_()
    defense.loss(step, x_adv).total.backward()  # type: ignore[no-untyped-call]
    assert x_adv.grad is not None
    assert x_adv.grad.isfinite().all()
    assert x_adv.grad.abs().amax((1, 2, 3)).max() > 0


@contract(
    "defense",
    loss={"own loss": None, "ce": "ce", "kl": "kl", "margin": "margin"},
    images={"2 images": 2, "5 images": 5},
)
def passes_are_counted(defense: Defense, loss: str | None, images: int) -> None:
    """As hooks on the weights see them, also with an attack that climbs a loss of the user's own; and no second-order pass
    that was not declared."""
    model, (x, y) = model_of(defense), batch(images)
    counted, seen = Counted(model), Passes(model)
    step = step_of(defense, counted, x, y, wanted=Pgd(steps=STEPS) if loss is None else Pgd(steps=STEPS, loss=loss))
    x_adv = defense.perturb(step)
    assert counted.images == seen.images
    total = defense.loss(step, x_adv).total
    with counted.within():
        total.backward()  # type: ignore[no-untyped-call]
    assert counted.images == seen.images > 0
    assert (seen.second_order > 0) == ("second_order" in defense.demands)


@contract("defense")
def bfloat16_network(defense: Defense) -> None:
    """Pixels, logits and losses stay float32 where the network runs in bfloat16."""
    model, (x, y) = Autocast(model_of(defense, dtype=torch.float32)), batch(dtype=torch.float32)
    step = step_of(defense, model, x, y)
    x_adv = defense.perturb(step)
    loss = defense.loss(step, x_adv)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert x_adv.dtype == step.logits(step.x).dtype == loss.total.dtype == torch.float32
    assert not THREAT.violated(x_adv, step.x)
    assert loss.total.isfinite()
    exact = defense.loss(step_of(defense, model.model, x, y), x_adv).total.item()
    assert math.isclose(loss.total.item(), exact, rel_tol=0.05), f"{loss.total.item()}, in float32 {exact}"
    assert loss.total.item() != exact  # or autocast was not at work


@contract("defense", default=True, where=lambda defense: "hard_labels" not in defense.demands)
def soft_labels_of_one_class_are_labels(defense: Defense) -> None:
    """Probabilities of one class give the images and the loss of that class."""
    x, y = batch()
    soft = F.one_hot(y, 5).double()
    steps = [step_of(defense, model_of(defense), x, labels) for labels in (y, soft)]
    images = [defense.perturb(step) for step in steps]
    torch.testing.assert_close(images[0], images[1])
    losses = [defense.loss(step, near(step.x)).total for step in steps]
    torch.testing.assert_close(losses[0], losses[1])


@contract("defense", default=True)
def smoothed_labels_are_for_the_loss_alone(defense: Defense) -> None:
    """They change the loss, but not what is attacked; and a smoothing of nothing changes neither."""
    x, y = batch()
    losses, images = [], []
    for amount in (0, 0.25):
        targets = smoothed(y, x.new_empty(0, 5), amount, "all")
        step = step_of(defense, model_of(defense), x, y, targets=targets, labels=y)
        images.append(defense.perturb(step))
        losses.append(defense.loss(step, near(step.x)).total)
    plain = step_of(defense, model_of(defense), x, y)
    torch.testing.assert_close(losses[0], defense.loss(plain, near(plain.x)).total)
    assert (losses[0] - losses[1]).abs() > 1e-3
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], defense.perturb(step_of(defense, model_of(defense), x, y)))


@contract("defense", default=True)
def targets_are_for_the_loss_alone(defense: Defense) -> None:
    """As noise on labels is: the attack climbs away from y."""
    x, y = batch()
    plain, noisy = (step_of(defense, model_of(defense), x, y, targets=targets) for targets in (None, (y + 1) % 5))
    assert torch.equal(defense.perturb(plain), defense.perturb(noisy))
    assert (defense.loss(plain, near(plain.x)).total - defense.loss(noisy, near(noisy.x)).total).abs() > 1e-3


@contract("defense", default=True)
def a_term_without_weight_is_zero(defense: Defense) -> None:
    """And what is left is the defense without it: terms that every weight leaves alone."""
    fields = type(defense).model_fields.items()
    weights = [name for name, field in fields if (field.description or "").startswith("weight of")]
    without, (x, y) = remade(defense, **dict.fromkeys(weights, 0)), batch()
    assert isinstance(without, Defense)
    step = step_of(without, model_of(defense), x, y)
    loss = without.loss(step, near(step.x))
    kept = [name for name, part in loss.parts.items() if part != 0]
    assert kept
    assert len(loss.parts) == len(kept) + len(weights)
    whole = defense.loss(step_of(defense, model_of(defense), x, y), near(step.x))
    torch.testing.assert_close(loss.total, torch.stack([whole.parts[name] for name in kept]).sum())


@contract("defense")
def the_published_attack_keeps_what_is_not_said(defense: Defense) -> None:
    """An attack of the trial's changes the options that it names, and no other."""
    published = defense.published_attack
    assert defense.attack_with(None) == published
    wanted = defense.attack_with(Pgd(steps=STEPS))
    assert wanted == published.model_copy(update={"steps": STEPS})
