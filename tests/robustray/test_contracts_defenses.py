"""What every defense promises, with its published attack, and what its loss must be the gradient of."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn

from robustray import Step
from robustray.attacks import Attack, Pgd, Threat
from robustray.attacks.threats import Norm
from robustray.defenses import Defense
from robustray.registry import parts
from robustray.training.precision import Autocast
from robustray.trial import TrialConfig
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
    trial,
    variants,
)

THREAT = Threat(eps=0.1)
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
) -> Step:
    attack = defense.attack_with(wanted or Pgd(steps=STEPS))
    return defense.prepare(Step(model, x, y, attack.bind(threat), generator=generator(seed), targets=targets))


def near(x: Tensor) -> Tensor:
    """Images in the ball that no attack made: losses must be right anywhere, not only where an attack ends."""
    noise = torch.rand(x.shape, generator=generator(7), dtype=x.dtype)
    return THREAT.project(x + THREAT.eps * (2 * noise - 1), x)


@variants("defense", "defense")
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5), ("l1", 3)])
def test_perturbed_images_are_inside(defense: Defense, norm: Norm, eps: float) -> None:
    x, y = batch()
    threat, x_before = Threat(norm=norm, eps=eps), x.clone()
    step = step_of(defense, model_of(defense), x, y, threat=threat)
    x_adv = defense.perturb(step)
    assert x_adv.shape == step.x.shape
    assert x_adv.dtype == x.dtype
    assert not x_adv.requires_grad
    assert not threat.violated(x_adv, step.x)
    assert torch.equal(x, x_before)


@variants("defense", "defense")
@pytest.mark.parametrize("mode", ["eval", "train_frozen"])
def test_perturbing_changes_nothing_else(defense: Defense, mode: str) -> None:
    model, (x, y) = model_of(defense).train(), batch()
    model[1].eval()
    model[4].bias.requires_grad_(False)
    before, flags_before, world = state(model), flags(model), torch.get_rng_state()
    defense.perturb(step_of(defense, model, x, y, wanted=Pgd.model_validate({"steps": STEPS, "mode": mode})))
    assert same(state(model), before)
    assert flags(model) == flags_before
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), world)


@variants("defense", "defense")
def test_state_comes_back_after_an_exception(defense: Defense) -> None:
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
        assert model(x).shape == (6, 5)  # and an auxiliary head is out of sight


@variants("defense", "defense")
def test_no_radius_gives_the_clean_images_back(defense: Defense) -> None:
    x, y = batch()
    step = step_of(defense, model_of(defense), x, y, threat=Threat(eps=0))
    assert torch.equal(defense.perturb(step), step.x)


@variants("defense", "defense")
def test_equal_seeds_give_equal_images_and_losses(defense: Defense) -> None:
    x, y = batch()
    results = []
    for _ in range(2):
        step = step_of(defense, model_of(defense), x, y, seed=5)
        x_adv = defense.perturb(step)
        results.append((x_adv, defense.loss(step, x_adv).total))
        torch.rand(3)  # the world moves on
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@variants("defense", "defense")
def test_loss_is_in_training_mode_and_reaches_every_weight(defense: Defense) -> None:
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


@variants("defense", "defense")
def test_gradient_is_that_of_the_loss(defense: Defense, monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr(torch.autograd, "grad", once)

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
            ends.append(defense.loss(step, x_adv).total.item())
        with torch.no_grad():
            for weight, d in zip(weights, direction, strict=True):
                weight.add_(d, alpha=h)
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(along, rel=1e-6, abs=1e-8)


@variants("defense", "defense")
def test_an_update_may_ask_for_the_gradient_at_the_perturbed_images(defense: Defense) -> None:
    """One backward pass gives both; a loss of differences of x' and constants is smooth in x' as well."""
    model, (x, y) = model_of(defense, smooth=True), batch()
    step = step_of(defense, model, x, y)
    x_adv = near(step.x).requires_grad_()
    defense.loss(step, x_adv).total.backward()  # type: ignore[no-untyped-call]
    assert x_adv.grad is not None
    assert x_adv.grad.isfinite().all()
    assert x_adv.grad.abs().amax((1, 2, 3)).max() > 0


@variants("defense", "defense")
@pytest.mark.parametrize("loss", [None, "ce", "kl", "margin"])
@pytest.mark.parametrize("images", [2, 5])
def test_declared_passes_are_true(defense: Defense, loss: str | None, images: int) -> None:
    """Also with an attack that climbs a loss of the user's own; and no second-order pass that was not declared."""
    model, (x, y) = model_of(defense), batch(images)
    counted = Passes(model)
    step = step_of(defense, model, x, y, wanted=Pgd(steps=STEPS) if loss is None else Pgd(steps=STEPS, loss=loss))
    x_adv = defense.perturb(step)
    declared = defense.passes(step.bound.attack, images)
    assert counted.images == declared.perturb
    defense.loss(step, x_adv).total.backward()  # type: ignore[no-untyped-call]
    assert counted.images == declared.perturb + declared.loss
    assert (counted.second_order > 0) == defense.second_order


@variants("defense", "defense")
def test_bfloat16_network(defense: Defense) -> None:
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
    assert loss.total.item() == pytest.approx(exact, rel=0.05)
    assert loss.total.item() != exact  # or autocast was not at work


@pytest.mark.parametrize("cls", [cls for cls in parts("defense").values() if cls.soft_labels])  # type: ignore[attr-defined]
def test_soft_labels_of_one_class_are_labels(cls: type[Defense]) -> None:
    defense, (x, y) = made(cls), batch()
    soft = F.one_hot(y, 5).double()
    steps = [step_of(defense, model_of(defense), x, labels) for labels in (y, soft)]
    images = [defense.perturb(step) for step in steps]
    torch.testing.assert_close(images[0], images[1])
    losses = [defense.loss(step, near(step.x)).total for step in steps]
    torch.testing.assert_close(losses[0], losses[1])


@every("defense")
def test_both_conventions_of_label_smoothing_are_one(cls: type[Defense]) -> None:
    """s over all K classes is s (K - 1) / K over the others; both change the loss, neither what is attacked."""
    x, y = batch()
    losses, images = [], []
    for amount, onto in ((0.25, "all"), (0.2, "others"), (0, "all")):
        defense = made(cls, label_smoothing=amount, smoothed_onto=onto)
        step = step_of(defense, model_of(defense), x, y)
        images.append(defense.perturb(step))
        losses.append(defense.loss(step, near(step.x)).total)
    torch.testing.assert_close(losses[0], losses[1])
    assert (losses[0] - losses[2]).abs() > 1e-3
    assert torch.equal(images[0], images[2])


@every("defense")
def test_targets_are_for_the_loss_alone(cls: type[Defense]) -> None:
    """As noise on labels is: the attack climbs away from y."""
    defense, (x, y) = made(cls), batch()
    plain, noisy = (step_of(defense, model_of(defense), x, y, targets=targets) for targets in (None, (y + 1) % 5))
    assert torch.equal(defense.perturb(plain), defense.perturb(noisy))
    assert (defense.loss(plain, near(plain.x)).total - defense.loss(noisy, near(noisy.x)).total).abs() > 1e-3


@every("defense")
def test_a_term_without_weight_is_zero(cls: type[Defense]) -> None:
    """And what is left is the defense without it: one term that every weight leaves alone."""
    weights = [name for name, field in cls.model_fields.items() if (field.description or "").startswith("weight of")]
    defense, (x, y) = made(cls, **dict.fromkeys(weights, 0)), batch()
    step = step_of(defense, model_of(defense), x, y)
    loss = defense.loss(step, near(step.x))
    kept = [name for name, part in loss.parts.items() if part != 0]
    assert len(kept) == 1
    assert len(loss.parts) == 1 + len(weights)
    whole = made(cls).loss(step_of(made(cls), model_of(defense), x, y), near(step.x))
    torch.testing.assert_close(loss.total, whole.parts[kept[0]])


@variants("defense", "defense")
def test_the_published_attack_keeps_what_is_not_said(defense: Defense) -> None:
    published = defense.published_attack
    assert defense.attack_with(None) == published
    wanted = defense.attack_with(Pgd(steps=STEPS))
    assert wanted == published.model_copy(update={"steps": STEPS})


def test_different_requests_are_different_trials() -> None:
    """Every option that is asked for is in the trial that is run, whichever defense it is of, and reads back the same."""
    requests: dict[str, Defense] = {}
    for name, cls in parts("defense").items():
        assert issubclass(cls, Defense)
        for option, field in cls.model_fields.items():
            for value in (field.default, 0.123, 1, 7, True, "all", "others", "total", "js", "lp"):
                try:
                    requests.setdefault(f"{name}.{option}={value if value != field.default else 'default'}",
                                        cls.model_validate({option: value}))  # fmt: skip
                except ValueError:
                    continue  # not a value of this option
    different = set(requests.values())
    assert len(different) > 60
    seen = {}
    for defense in different:
        text = trial(defense=defense).to_yaml()
        assert text not in seen
        seen[text] = defense
        assert TrialConfig.model_validate(yaml.safe_load(text)).defense == defense
