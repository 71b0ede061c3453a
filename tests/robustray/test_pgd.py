"""PGD where the answer is known, its starts, its steps, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pydantic import ValidationError
from scipy.optimize import brentq
from torch import Tensor, nn

from robustray import Step
from robustray.attacks import Pgd, Threat, losses
from robustray.attacks.base import Outputs
from robustray.attacks.norms import Norm
from robustray.attacks.pgd import StepSize
from robustray.defenses import Trades
from robustray.errors import NotFinite, UserError
from tests.robustray.made import Passes, batch, generator, linear, network


def two_classes(d: int = 12) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A linear model with two classes, images [8, 1, 1, d], labels, and the direction that raises the loss, [8, d]."""
    stream = generator(2)
    weight = torch.randn(2, d, generator=stream, dtype=torch.float64)
    x = torch.rand(8, 1, 1, d, generator=stream, dtype=torch.float64)
    y = torch.tensor([0, 1] * 4)
    return linear(weight), x, y, (weight[1 - y] - weight[y]).sign()


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize(("steps", "of_eps"), [(1, 1.0), (4, 0.25), (10, 0.25), (40, 3.0)])
@pytest.mark.parametrize("start", ["uniform", "gaussian", "none"])
def test_linear_model(loss: str, steps: int, of_eps: float, start: str) -> None:
    """The gradient has one sign everywhere: enough steps end in the corner x + eps * sign(w), clipped to [0, 1]."""
    model, x, y, up = two_classes()
    eps = 0.3
    attack = Pgd.model_validate({"steps": steps, "step_size": {"of_eps": of_eps}, "loss": loss, "start": start})
    x_adv = attack(model, x, y, Threat(eps=eps), generator=generator())
    corner = (x + eps * up[:, None, None, :]).clamp(0, 1)
    if steps * of_eps >= 2 or (start == "none" and steps * of_eps >= 1):  # far enough from any start
        torch.testing.assert_close(x_adv, corner, rtol=0, atol=1e-12)
    else:
        assert F.cross_entropy(model(x_adv), y) > F.cross_entropy(model(x), y)
        assert not torch.equal(x_adv, corner)


def best(x: Tensor, slope: Tensor, norm: Norm, eps: float) -> Tensor:
    """argmax <slope, z> over ball and box for one image [d]: the optimal attack on a linear model, in closed form.

    linf: every pixel to its end. l2: along the slope, pixels that met their end left behind. l1: pixels moved to their
    ends one after another, the steepest first, until eps is used up.
    """
    room = torch.where(slope > 0, 1 - x, x)
    if norm == "linf":
        way = room.clamp_max(eps)
    elif norm == "l2":

        def moved(t: float) -> Tensor:
            return torch.minimum(t * slope.abs(), room)

        t = 1e9 if moved(1e9).norm() <= eps else brentq(lambda t: moved(t).norm().item() - eps, 0, 1e9, xtol=1e-15)
        way = moved(t)
    else:
        order = slope.abs().argsort(descending=True)
        used = room[order].cumsum(0) - room[order]
        way = torch.empty_like(room)
        way[order] = (eps - used).clamp_min(0).minimum(room[order])
    return x + slope.sign() * way


def bests(norm: Norm, eps: float) -> Tensor:
    """The optimal attack on each image of `two_classes`, [8, 1, 1, d]."""
    model, x, y, _ = two_classes()
    weight = model.get_parameter("1.weight").detach()
    found = [
        best(image.flatten(), weight[1 - label] - weight[label], norm, eps) for image, label in zip(x, y, strict=True)
    ]
    return torch.stack(found).view_as(x)


CLIPPED: dict[Norm, float] = {"linf": 0.3, "l2": 1.2, "l1": 2.5}
"""Radii at which many pixels meet the ends of [0, 1]."""


@pytest.mark.parametrize("loss", ["ce", "margin", "margin-targeted"])
@pytest.mark.parametrize("start", ["uniform", "gaussian", "none"])
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_linear_model_in_every_norm(norm: Norm, start: str, loss: str) -> None:
    """Gradient ascent with far steps and the nearest projection ends in the optimum of a linear function, box included."""
    model, x, y, _ = two_classes()
    attack = Pgd.model_validate(
        {"steps": 3, "step_size": {"of_eps": 1e5}, "step_rule": "l2", "loss": loss, "start": start}
    )
    x_adv = attack(model, x, y, Threat(norm=norm, eps=CLIPPED[norm]), generator=generator())
    torch.testing.assert_close(x_adv, bests(norm, CLIPPED[norm]), rtol=0, atol=1e-4 if norm == "l2" else 1e-9)
    assert ((x_adv * (1 - x_adv)) < 1e-9).float().mean() > 0.1  # the box matters


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_the_default_attack_comes_near_the_optimum(norm: Norm) -> None:
    """What judge.cheap is by default, 20 steps of a quarter of the radius, in every norm."""
    model, x, y, _ = two_classes(d=64)
    weight = model.get_parameter("1.weight").detach()
    slope = (weight[1 - y] - weight[y])[:, None, None, :]
    threat = Threat(norm=norm, eps=CLIPPED[norm])
    x_adv = Pgd(loss="margin", steps=20)(model, x, y, threat, generator=generator())
    optimum = torch.stack([best(a.flatten(), b.flatten(), norm, threat.eps) for a, b in zip(x, slope, strict=True)])
    gained = ((x_adv - x) * slope).flatten(1).sum(1)
    possible = ((optimum.view_as(x) - x) * slope).flatten(1).sum(1)
    assert (gained <= possible + 1e-9).all()
    assert (gained >= {"linf": 0.999, "l2": 0.99, "l1": 0.9}[norm] * possible).all()


def test_one_step_is_the_fast_gradient_method_in_l2() -> None:
    """x + step * g / ||g||_2, inside the box as long as no pixel meets its end."""
    model, x, y, _ = two_classes()
    x = 0.25 + x / 2
    weight = model.get_parameter("1.weight").detach()
    slope = (weight[1 - y] - weight[y])[:, None, None, :]
    one = Pgd(steps=1, step_size=StepSize(pixels=0.2), start="none")(model, x, y, Threat(norm="l2", eps=0.3))
    torch.testing.assert_close(one, x + 0.2 * slope / torch.linalg.vector_norm(slope, dim=3, keepdim=True))


def test_one_step_is_the_fast_gradient_sign_method() -> None:
    model, x, y, up = two_classes()
    one = Pgd(steps=1, step_size=StepSize(pixels=0.05), start="none")(model, x, y, Threat(eps=0.3))
    torch.testing.assert_close(one, (x + 0.05 * up[:, None, None, :]).clamp(0, 1), rtol=0, atol=1e-15)


def test_pixels_where_nothing_changes_stay() -> None:
    """A zero gradient has sign zero: dead pixels are not moved by chance."""
    weight = torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    x = torch.full((1, 1, 1, 3), 0.5, dtype=torch.float64)
    x_adv = Pgd(steps=5, start="none")(linear(weight), x, torch.tensor([0]), Threat(eps=0.1))
    torch.testing.assert_close(x_adv.flatten(), torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64))


def test_margin_in_closed_form() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [5.0, -1.0, 3.0]])
    torch.testing.assert_close(losses.margin(logits, torch.tensor([2, 0])), torch.tensor([2.0, -2.0]))


@given(st.integers(0, 2**31), st.integers(2, 12))
def test_margin_is_positive_exactly_where_misclassified(seed: int, classes: int) -> None:
    logits = torch.randn(20, classes, generator=generator(seed))
    y = torch.randint(0, classes, (20,), generator=generator(seed + 1))
    torch.testing.assert_close(losses.margin(logits, y) > 0, logits.argmax(1) != y)


def test_dlr_in_closed_form() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, -1.0], [5.0, -1.0, 3.0, 1.0]], dtype=torch.float64)
    y, target = torch.tensor([2, 0]), torch.tensor([1, 3])
    torch.testing.assert_close(losses.dlr(logits, y), torch.tensor([2 / 3, -2 / 4], dtype=torch.float64))
    expected = torch.tensor([2 / (4 - 0.0), -4 / (5 - 0.0)], dtype=torch.float64)
    torch.testing.assert_close(losses.dlr(logits, y, target), expected)
    torch.testing.assert_close(losses.margin(logits, y, target), torch.tensor([2.0, -4.0], dtype=torch.float64))


@given(st.integers(0, 2**31), st.integers(4, 12))
def test_dlr_is_that_of_autoattack(seed: int, classes: int) -> None:
    """And neither a shift nor a scale of the logits changes it."""
    logits = torch.randn(20, classes, generator=generator(seed), dtype=torch.float64)
    y = torch.randint(0, classes, (20,), generator=generator(seed + 1))
    target = (y + torch.randint(1, classes, (20,), generator=generator(seed + 2))) % classes
    theirs = APGDAttack(None, eps=0.1, device="cpu").dlr_loss(logits, y)
    torch.testing.assert_close(losses.dlr(logits, y), theirs)
    targeted = APGDAttack_targeted(None, eps=0.1, device="cpu")
    targeted.y_target = target
    torch.testing.assert_close(losses.dlr(logits, y, target), targeted.dlr_loss_targeted(logits, y))
    torch.testing.assert_close(losses.dlr(7 * logits + 3, y), theirs)


@pytest.mark.parametrize(("loss", "classes"), [("dlr", 2), ("dlr-targeted", 3)])
def test_dlr_needs_classes(loss: str, classes: int) -> None:
    model, (x, y) = network(classes=classes), batch(classes=classes)
    with pytest.raises(UserError, match=f"{loss} compares {classes + 1} classes, but the model has {classes}"):
        Pgd.model_validate({"loss": loss})(model, x, y, Threat(eps=0.1))


def test_wrong_classes_come_the_most_likely_first() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0, -1.0], [5.0, -1.0, 3.0, 1.0]])
    assert losses.wrong_classes(logits, torch.tensor([1, 2])).tolist() == [[2, 0, 3], [0, 3, 1]]


@given(st.integers(0, 2**31))
def test_kl_is_summed_over_classes_and_averaged_over_images(seed: int) -> None:
    a, b = torch.randn(2, 7, 5, generator=generator(seed), dtype=torch.float64)
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(losses.kl(p, b), (p * (p / q).log()).sum() / 7)
    assert losses.kl(p, b) >= 0
    assert losses.kl(p, a).abs() < 1e-12


def test_kl_has_no_slope_at_the_clean_images() -> None:
    """Which is why TRADES must not start there: from x itself there is nothing to climb."""
    model, (x, y) = network().eval(), batch()
    clean = model(x).softmax(1).detach()
    x_here = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(losses.kl(clean, model(x_here)), x_here)
    assert slope.abs().max() < 1e-12
    climbed = Pgd(loss="kl", start="gaussian")(model, x, y, Threat(eps=0.1), generator=generator())
    assert losses.kl(clean, model(climbed)) > 1e-3


@pytest.mark.parametrize("loss", ["ce", "kl", "margin", "dlr"])
def test_each_loss_climbs_itself_best(loss: str) -> None:
    model, (x, y) = network().eval(), batch(32)
    clean = model(x).softmax(1).detach()
    measures = {
        "ce": lambda logits: F.cross_entropy(logits, y),
        "kl": lambda logits: losses.kl(clean, logits),
        "margin": lambda logits: losses.margin(logits, y).mean(),
        "dlr": lambda logits: losses.dlr(logits, y).mean(),
    }
    gained = {}
    for name in measures:
        attack = Pgd.model_validate({"steps": 20, "loss": name})
        x_adv = attack(model, x, y, Threat(eps=0.05), generator=generator())
        gained[name] = measures[loss](model(x_adv)).item()
    assert max(gained, key=lambda name: gained[name]) == loss


def first_seen(attack: Pgd, eps: float, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(x, the first images the model is asked about)."""
    model = network()
    x = torch.full((40, 2, 6, 6), 0.5, dtype=torch.float64)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    attack(model, x, torch.zeros(40, dtype=torch.int64), Threat(eps=eps), start=start, generator=generator())
    return x, seen[0]


def test_uniform_start_fills_the_ball() -> None:
    x, start = first_seen(Pgd(start="uniform", steps=1), eps=0.2)
    noise = (start - x) / 0.2
    assert noise.abs().max() <= 1
    assert noise.abs().max() > 0.99
    assert noise.mean().abs() < 0.05
    assert noise.pow(2).mean().item() == pytest.approx(1 / 3, rel=0.05)
    x, start = first_seen(Pgd(start="uniform", steps=1), eps=0.9)
    assert start.min() == 0  # clamped to [0, 1]
    assert start.max() == 1


def test_gaussian_start_is_neither_clamped_nor_projected() -> None:
    x, start = first_seen(Pgd(start="gaussian", steps=1, sigma=0.3), eps=0.01)
    noise = (start - x) / 0.3
    assert noise.std().item() == pytest.approx(1, rel=0.05)
    assert noise.mean().abs() < 0.05
    assert start.max() > 1


def test_no_start_is_the_image_itself() -> None:
    x, start = first_seen(Pgd(start="none", steps=1), eps=0.1)
    assert torch.equal(start, x)


def test_a_given_start_is_used_as_it_is() -> None:
    given_start = torch.full((40, 2, 6, 6), 1.25, dtype=torch.float64)
    _, start = first_seen(Pgd(start="uniform", steps=1), eps=0.1, start=given_start)
    assert torch.equal(start, given_start)


def test_a_step_hands_its_start_to_the_attack() -> None:
    model, (x, y) = network(), batch()
    start = (x + 0.03).clamp(0, 1)
    attack = Pgd(steps=0)
    assert torch.equal(Step(model, x, y, attack.bind(Threat(eps=0.1)), start=start).attack(), start)


@pytest.mark.parametrize("start", ["uniform", "gaussian", "none"])
def test_without_steps_the_start_is_projected(start: str) -> None:
    model, (x, y) = network(), batch()
    attack = Pgd.model_validate({"steps": 0, "start": start, "sigma": 5})
    x_adv = attack(model, x, y, Threat(eps=0.05), generator=generator())
    assert not Threat(eps=0.05).violated(x_adv, x)


def test_step_size_in_pixels_or_of_eps() -> None:
    assert StepSize(of_eps=0.25).within(0.2) == 0.05
    assert StepSize(pixels=0.01).within(0.2) == 0.01
    assert Pgd.model_validate({"step_size": "2/255"}).step_size == StepSize(pixels=2 / 255)
    for size in (0.01, {"of_eps": 0.5}):
        attack = Pgd.model_validate({"step_size": size})
        assert attack.model_dump(mode="json")["step_size"] == size


@pytest.mark.parametrize("size", [{}, {"of_eps": 1, "pixels": 1}, {"of_eps": 0}, -0.1, "big", None])
def test_wrong_step_sizes(size: object) -> None:
    with pytest.raises(ValidationError, match="step_size"):
        Pgd.model_validate({"step_size": size})


@pytest.mark.parametrize("loss", ["ce", "kl", "margin", "dlr", "ce-targeted", "margin-targeted", "dlr-targeted"])
@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("tau", [None, 1])
def test_passes_are_counted(loss: str, restarts: int, tau: int | None) -> None:
    model, (x, y) = network(), batch()
    counted = Passes(model)
    attack = Pgd.model_validate({"steps": 4, "loss": loss, "restarts": restarts, "tau": tau})
    attack(model, x, y, Threat(eps=0.1), generator=generator())
    assert counted.images == attack.passes * len(x)
    assert attack.passes == restarts * 8 + (restarts if restarts > 1 else 0) + (loss not in ("ce", "margin", "dlr"))


def restarted(loss: str, restarts: int, seed: int) -> tuple[nn.Module, Tensor, Tensor, Tensor, list[Tensor]]:
    """A network, images, labels, x' of an attack with restarts, and x' of each restart on its own."""
    model, (x, y) = network(seed=seed).eval(), batch(12, seed=seed + 1)
    starts = torch.stack([Threat(eps=0.05).uniform(x, generator(number)) for number in range(restarts)])
    options = {"loss": loss, "steps": 2, "restarts": restarts}
    together = Pgd.model_validate(options)(model, x, y, Threat(eps=0.05), start=starts)
    alone = [
        Pgd.model_validate(options | {"restarts": 1})(model, x, y, Threat(eps=0.05), start=start) for start in starts
    ]
    return model, x, y, together, alone


@pytest.mark.parametrize("loss", ["ce", "margin", "kl"])
@pytest.mark.parametrize("seed", range(3))
def test_restarts_keep_the_worst_of_each_image(loss: str, seed: int) -> None:
    """A misclassified x' before any other, then the highest loss; compared image by image with the restarts on their own."""
    model, x, y, together, alone = restarted(loss, 4, seed)
    clean = model(x).softmax(1)
    climbed = {
        "ce": lambda logits: F.cross_entropy(logits, y, reduction="none"),
        "margin": lambda logits: losses.margin(logits, y),
        "kl": lambda logits: losses.kl(clean, logits, "none"),
    }
    chosen = set()
    for number, (label, found) in enumerate(zip(y, together, strict=True)):
        ranks = []
        for x_adv in alone:
            logits = model(x_adv)
            ranks.append(((logits[number].argmax() != label).item(), climbed[loss](logits)[number].item()))
        worst = max(range(4), key=lambda restart: ranks[restart])
        assert torch.equal(found, alone[worst][number])
        chosen.add(worst)
    assert len(chosen) > 1


def test_an_image_once_misclassified_stays_so() -> None:
    """Even where a later restart has the higher loss: a defense's own objective need not know of labels."""
    model, (x, y) = network().eval(), batch(64)
    with torch.no_grad():
        y = model(x).argmax(1)
    attack = Pgd(restarts=8, steps=1)

    def brightness(outputs: Outputs, x_adv: Tensor) -> Tensor:
        return x_adv.flatten(1).sum(1).add(outputs.logits.sum(1), alpha=0)

    starts = torch.stack([Threat(eps=0.1).uniform(x, generator(number)) for number in range(8)])
    broken = torch.zeros(64, dtype=torch.bool)
    for start in starts:
        alone = Pgd(steps=1)(model, x, y, Threat(eps=0.1), start=start, objective=brightness)
        broken |= model(alone).argmax(1) != y
    x_adv = attack(model, x, y, Threat(eps=0.1), start=starts, objective=brightness)
    assert 0 < broken.sum() < 64
    assert torch.equal(model(x_adv).argmax(1) != y, broken)


def test_more_restarts_never_help_the_model() -> None:
    model, (x, y) = network().eval(), batch(40)
    gained = [
        F.cross_entropy(
            model(Pgd(loss="ce", steps=2, restarts=n)(model, x, y, Threat(eps=0.1), generator=generator())), y
        )
        for n in (2, 4, 8)
    ]
    assert gained[0] < gained[1] < gained[2]


def test_starts_that_are_not_given_are_drawn() -> None:
    model, (x, y) = network(), batch()
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    threat, start = Threat(eps=0.1), (batch()[0] + 0.03).clamp(0, 1)
    Pgd(restarts=3, steps=1)(model, x, y, threat, start=start, generator=generator())
    first, second, third = seen[0], seen[2], seen[4]
    stream = generator()
    assert torch.equal(first, start)
    assert torch.equal(second, threat.uniform(x, stream))
    assert torch.equal(third, threat.uniform(x, stream))
    with pytest.raises(ValueError, match="4 starts were given for restarts: 3"):
        Pgd(restarts=3, steps=1)(model, x, y, threat, start=torch.stack([x] * 4))


def test_restarts_need_a_loss_of_each_image() -> None:
    model, (x, y) = network(), batch()
    with pytest.raises(UserError, match=r"one number for the whole batch: set attack\.loss"):
        Pgd(restarts=2)(model, x, y, Threat(eps=0.1), objective=lambda outputs, _: outputs.logits.sum())
    defense = Trades()
    attack = defense.attack_with(Pgd(restarts=2))
    x_adv = defense.perturb(Step(model, x, y, attack.bind(Threat(eps=0.1)), generator=generator()))
    assert not torch.equal(x_adv, x)


def test_restarts_from_one_start_are_refused() -> None:
    with pytest.raises(ValidationError, match="repeat each other"):
        Pgd(restarts=2, start="none")
    assert Pgd(restarts=2, start="none", loss="dlr-targeted").restarts == 2


@pytest.mark.parametrize("loss", ["ce-targeted", "margin-targeted", "dlr-targeted"])
def test_restarts_climb_toward_each_wrong_class_in_turn(loss: str) -> None:
    """On a linear model a step toward class t goes along w_t - w_y (margin), or is a mixture that raises z_t most."""
    stream = generator(4)
    weight = torch.randn(4, 12, generator=stream, dtype=torch.float64)
    x = 0.3 + 0.4 * torch.rand(5, 1, 1, 12, generator=stream, dtype=torch.float64)
    model = linear(weight)
    y = model(x).argmax(1)
    seen: list[Tensor] = []
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    attack = Pgd.model_validate({"loss": loss, "restarts": 4, "steps": 1, "start": "none", "step_size": 1e-4})
    attack(model, x, y, Threat(norm="l2", eps=0.1))
    ends = seen[2::2]  # after the clean forward, a start and an end of each restart
    assert len(ends) == 4
    ranked = model(x).argsort(1, descending=True)
    for restart, x_adv in enumerate(ends):
        target = ranked[:, 1 + restart % 3]  # y is the most likely; three wrong classes, then the first again
        moved = (x_adv - x).flatten(1)
        if loss == "ce-targeted":
            p = model(x).softmax(1)
            along = weight[target] - p @ weight
        elif loss == "margin-targeted":
            along = weight[target] - weight[y]
        else:
            z = model(x).sort(1, descending=True)
            numerator = model(x).gather(1, target[:, None]) - model(x).gather(1, y[:, None])
            order = z.indices
            scale = z.values[:, :1] - (z.values[:, 2:3] + z.values[:, 3:4]) / 2
            of_scale = weight[order[:, 0]] - (weight[order[:, 2]] + weight[order[:, 3]]) / 2
            along = (weight[target] - weight[y]) / scale - numerator * of_scale / scale**2
        expected = 1e-4 * along / along.norm(dim=1, keepdim=True)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("tau", [0, 1, 2, 5])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_friendly_stop(norm: Norm, tau: int) -> None:
    """Written down image by image as in the paper's algorithm: tau steps after the first misclassification, then none."""
    model = network(seed=3).eval()
    x = batch(24, seed=5)[0]
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 5  # wrong from the beginning
    threat, size = Threat(norm=norm, eps={"linf": 0.2, "l2": 1.5}[norm]), 0.02 if norm == "linf" else 0.1
    options = {"steps": 9, "step_size": size, "start": "none", "loss": "ce"}
    stopped = Pgd.model_validate(options | {"tau": tau})(model, x, y, threat)
    one = Pgd.model_validate(options | {"steps": 1})
    lengths = []
    for number in range(len(x)):
        image, label, here, left, taken = x[number, None], y[number, None], x[number, None], tau, 0
        for _ in range(9):
            if model(here).argmax(1) != label:
                if left == 0:
                    break
                left -= 1
            here = one(model, image, label, threat, start=here)
            taken += 1
        lengths.append(taken)
        torch.testing.assert_close(stopped[number, None], here, rtol=0, atol=1e-12)
    assert lengths[0] == tau
    assert max(lengths) > tau
    whole = Pgd.model_validate(options)(model, x, y, threat)
    torch.testing.assert_close(whole, Pgd.model_validate(options | {"tau": 9})(model, x, y, threat))
    assert not torch.equal(whole, stopped)


def test_a_broken_model_is_noticed_by_images_that_stopped_and_by_restarts() -> None:
    model, (x, y) = network(), batch()
    with torch.no_grad():
        model.get_parameter("4.weight").fill_(torch.nan)
    for attack in (Pgd(tau=0), Pgd(restarts=3), Pgd(loss="dlr-targeted", restarts=2)):
        for norm in ("linf", "l2", "l1"):
            for label in range(5):  # argmax of NaN is some class
                with pytest.raises(NotFinite):
                    attack(model, x, torch.full_like(y, label), Threat(norm=norm, eps=0.1), generator=generator())


@pytest.mark.parametrize(
    "options", [{"restarts": 3, "loss": "margin"}, {"restarts": 3, "loss": "dlr-targeted"}, {"tau": 1}]
)
def test_the_host_reads_no_value_of_an_image(options: dict[str, Any]) -> None:
    """Tensors without values raise where it would."""
    model, (x, y) = network().to("meta"), batch()
    flag = torch.zeros((), dtype=torch.bool, device="meta")
    attack = Pgd.model_validate(options)
    assert attack(model, x.to("meta"), y.to("meta"), Threat(eps=0.1), violations=flag).shape == x.shape


def test_soft_labels() -> None:
    """One-hot ones do what labels do."""
    model, (x, y) = network(), batch()
    soft = F.one_hot(y, 5).double()
    for options in ({"loss": "ce"}, {"loss": "margin", "restarts": 2}, {"loss": "dlr-targeted"}, {"tau": 1}):
        attack = Pgd.model_validate(options)
        hard = attack(model, x, y, Threat(eps=0.1), generator=generator())
        torch.testing.assert_close(attack(model, x, soft, Threat(eps=0.1), generator=generator()), hard)


def test_an_attack_that_breaks_its_promise_is_caught() -> None:
    class Careless(Pgd):
        def run(self, model: nn.Module, x: Tensor, *args: object, **options: object) -> Tensor:
            return (x - 0.2).clamp(0, 1)

    model, (x, y) = network(), batch()
    with pytest.raises(ValueError, match=r"left the linf ball of eps 0\.1"):
        Careless()(model, x, y, Threat(eps=0.1))
    flag = torch.zeros((), dtype=torch.bool)
    Careless()(model, x, y, Threat(eps=0.1), violations=flag)
    assert flag
    Pgd(steps=1)(model, x, y, Threat(eps=0.1), violations=flag, generator=generator())
    assert flag  # once set it stays


@given(
    seed=st.integers(0, 2**31),
    norm=st.sampled_from(["linf", "l2", "l1"]),
    eps=st.floats(0, 1),
    steps=st.integers(0, 4),
    size=st.floats(0, 2),
    loss=st.sampled_from(["ce", "kl", "margin", "dlr", "dlr-targeted"]),
    start=st.sampled_from(["uniform", "gaussian", "none"]),
    mode=st.sampled_from(["eval", "train_frozen", "train"]),
    classes=st.integers(4, 6),
    tau=st.sampled_from([None, 0, 1]),
    restarts=st.sampled_from([1, 2]),
    step_rule=st.sampled_from([None, "sign", "l2", "max_abs", "sparse"]),
    projection=st.sampled_from(["nearest", "box_ball", "ball_box"]),
)
def test_always_inside(seed: int, norm: Norm, eps: float, steps: int, classes: int, **options: Any) -> None:
    """Whatever the network, the threat and the options; in float32, as in training."""
    model = network(classes=classes, dtype=torch.float32, seed=seed % 1000)
    x, y = batch(classes=classes, dtype=torch.float32, seed=seed)
    options["restarts"] = 1 if options["start"] == "none" else options["restarts"]
    attack = Pgd.model_validate({"steps": steps, "step_size": options.pop("size"), "sigma": 0.5, **options})
    x_adv = attack(model, x, y, Threat(norm=norm, eps=eps), generator=generator(seed))
    order = {"linf": torch.inf, "l2": 2, "l1": 1}[norm]
    moved = torch.linalg.vector_norm((x_adv.double() - x.double()).flatten(1), order, dim=1)
    assert moved.max() <= eps + {"linf": 1e-6, "l2": 1e-6, "l1": 5e-6}[norm]
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
