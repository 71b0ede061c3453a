"""What every defense promises, with its published attack, and what its loss must be the gradient of."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray import Step
from robustray.attacks import Attack, Pgd, Threat
from robustray.defenses import Defense
from robustray.registry import parts
from robustray.training._precision import Autocast
from tests.robustray.made import Boom, Fails, Passes, batch, flags, generator, made, network, same, state, variants

THREAT = Threat(eps=0.1)
STEPS = 3


def step_of(
    defense: Defense,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    seed: int = 0,
    wanted: Attack | None = None,
    eps: float = 0.1,
) -> Step:
    attack = defense.attack_with(wanted or Pgd(steps=STEPS))
    return defense.prepare(Step(model, x, y, attack.bind(Threat(eps=eps)), generator=generator(seed)))


def near(x: Tensor) -> Tensor:
    """Images in the ball that no attack made: losses must be right anywhere, not only where an attack ends."""
    noise = torch.rand(x.shape, generator=generator(7), dtype=x.dtype)
    return THREAT.project(x + THREAT.eps * (2 * noise - 1), x)


@variants("defense", "defense")
def test_perturbed_images_are_inside(defense: Defense) -> None:
    x, y = batch()
    x_before = x.clone()
    x_adv = defense.perturb(step_of(defense, network(), x, y))
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert not THREAT.violated(x_adv, x)
    assert torch.equal(x, x_before)


@variants("defense", "defense")
def test_perturbing_changes_nothing_else(defense: Defense) -> None:
    model, (x, y) = network().train(), batch()
    model[1].eval()
    model[4].bias.requires_grad_(False)
    before, flags_before, world = state(model), flags(model), torch.get_rng_state()
    defense.perturb(step_of(defense, model, x, y))
    assert same(state(model), before)
    assert flags(model) == flags_before
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), world)


@variants("defense", "defense")
def test_state_comes_back_after_an_exception(defense: Defense) -> None:
    """Wherever in the making of x' a model fails."""
    for at in itertools.count():
        model, (x, y) = Fails(network().train(), at), batch()
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


@variants("defense", "defense")
def test_no_radius_gives_the_clean_images_back(defense: Defense) -> None:
    x, y = batch()
    assert torch.equal(defense.perturb(step_of(defense, network(), x, y, eps=0)), x)


@variants("defense", "defense")
def test_equal_seeds_give_equal_images_and_losses(defense: Defense) -> None:
    x, y = batch()
    results = []
    for _ in range(2):
        step = step_of(defense, network(), x, y, seed=5)
        x_adv = defense.perturb(step)
        results.append((x_adv, defense.loss(step, x_adv).total))
        torch.rand(3)  # the world moves on
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@variants("defense", "defense")
def test_loss_is_in_training_mode_and_reaches_every_weight(defense: Defense) -> None:
    model, (x, y) = network().eval(), batch()
    x_adv = near(x)
    inputs = x.clone(), x_adv.clone()
    before = state(model)
    loss = defense.loss(step_of(defense, model, x, y), x_adv)
    assert loss.parts
    assert all(part.shape == () and part.isfinite() for part in loss.parts.values())
    torch.testing.assert_close(loss.total, torch.stack(list(loss.parts.values())).sum())
    assert not same(state(model), before)  # batch statistics: the buffers moved
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert torch.equal(x, inputs[0])
    assert torch.equal(x_adv, inputs[1])


@variants("defense", "defense")
def test_gradient_is_that_of_the_loss(defense: Defense) -> None:
    """Against central differences along random directions in weight space, the target of every term moving along."""
    model, (x, y) = network(smooth=True), batch()
    x_adv, step = near(x), step_of(defense, model, x, y)
    weights = list(model.parameters())

    def value() -> float:
        with torch.no_grad():
            return defense.loss(step, x_adv).total.item()

    defense.loss(step, x_adv).total.backward()  # type: ignore[no-untyped-call]
    stream, h = generator(11), 1e-5
    for _ in range(4):
        direction = [torch.randn(w.shape, generator=stream, dtype=w.dtype) for w in weights]
        along = sum(float((w.grad * d).sum()) for w, d in zip(weights, direction, strict=True) if w.grad is not None)
        ends = []
        for length in (h, -2 * h):
            with torch.no_grad():
                for weight, d in zip(weights, direction, strict=True):
                    weight.add_(d, alpha=length)
            ends.append(value())
        with torch.no_grad():
            for weight, d in zip(weights, direction, strict=True):
                weight.add_(d, alpha=h)
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(along, rel=1e-6, abs=1e-8)


@variants("defense", "defense")
@pytest.mark.parametrize("loss", [None, "ce", "kl", "margin"])
def test_declared_passes_are_true(defense: Defense, loss: str | None) -> None:
    """Also with an attack that climbs a loss of the user's own."""
    model, (x, y) = network(), batch()
    counted = Passes(model)
    step = step_of(defense, model, x, y, wanted=Pgd(steps=STEPS) if loss is None else Pgd(steps=STEPS, loss=loss))
    defense.loss(step, defense.perturb(step)).total.backward()  # type: ignore[no-untyped-call]
    assert counted.images == sum(defense.passes(step.bound.attack, len(x)))


@variants("defense", "defense")
def test_bfloat16_network(defense: Defense) -> None:
    """Pixels, logits and losses stay float32 where the network runs in bfloat16."""
    model, (x, y) = Autocast(network(dtype=torch.float32)), batch(dtype=torch.float32)
    step = step_of(defense, model, x, y)
    x_adv = defense.perturb(step)
    loss = defense.loss(step, x_adv)
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert x_adv.dtype == step.logits(x).dtype == loss.total.dtype == torch.float32
    assert not THREAT.violated(x_adv, x)
    assert loss.total.isfinite()
    exact = defense.loss(step_of(defense, model.model, x, y), x_adv).total.item()
    assert loss.total.item() == pytest.approx(exact, rel=0.05)
    assert loss.total.item() != exact  # or autocast was not at work


@pytest.mark.parametrize("cls", [cls for cls in parts("defense").values() if cls.soft_labels])  # type: ignore[attr-defined]
def test_soft_labels_of_one_class_are_labels(cls: type[Defense]) -> None:
    defense, (x, y) = made(cls), batch()
    soft = F.one_hot(y, 5).double()
    hard = defense.loss(step_of(defense, network(), x, y), x).total
    torch.testing.assert_close(defense.loss(step_of(defense, network(), x, soft), x).total, hard)


@variants("defense", "defense")
def test_the_published_attack_keeps_what_is_not_said(defense: Defense) -> None:
    published = defense.published_attack
    assert defense.attack_with(None) == published
    wanted = defense.attack_with(Pgd(steps=STEPS))
    assert wanted == published.model_copy(update={"steps": STEPS})
