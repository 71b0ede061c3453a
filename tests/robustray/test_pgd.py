"""PGD where the answer is known, its starts, its steps, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from robustray import Step
from robustray.attacks import Pgd, Threat, _losses
from robustray.attacks.pgd import StepSize
from tests.robustray.made import batch, generator, linear, network


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
    torch.testing.assert_close(_losses.margin(logits, torch.tensor([2, 0])), torch.tensor([2.0, -2.0]))


@given(st.integers(0, 2**31), st.integers(2, 12))
def test_margin_is_positive_exactly_where_misclassified(seed: int, classes: int) -> None:
    logits = torch.randn(20, classes, generator=generator(seed))
    y = torch.randint(0, classes, (20,), generator=generator(seed + 1))
    torch.testing.assert_close(_losses.margin(logits, y) > 0, logits.argmax(1) != y)


@given(st.integers(0, 2**31))
def test_kl_is_summed_over_classes_and_averaged_over_images(seed: int) -> None:
    a, b = torch.randn(2, 7, 5, generator=generator(seed), dtype=torch.float64)
    p, q = a.softmax(1), b.softmax(1)
    torch.testing.assert_close(_losses.kl(p, b), (p * (p / q).log()).sum() / 7)
    assert _losses.kl(p, b) >= 0
    assert _losses.kl(p, a).abs() < 1e-12


def test_kl_has_no_slope_at_the_clean_images() -> None:
    """Which is why TRADES must not start there: from x itself there is nothing to climb."""
    model, (x, y) = network().eval(), batch()
    clean = model(x).softmax(1).detach()
    x_here = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_losses.kl(clean, model(x_here)), x_here)
    assert slope.abs().max() < 1e-12
    climbed = Pgd(loss="kl", start="gaussian")(model, x, y, Threat(eps=0.1), generator=generator())
    assert _losses.kl(clean, model(climbed)) > 1e-3


@pytest.mark.parametrize("loss", ["ce", "kl", "margin"])
def test_each_loss_climbs_itself_best(loss: str) -> None:
    model, (x, y) = network().eval(), batch(32)
    clean = model(x).softmax(1).detach()
    measures = {
        "ce": lambda logits: F.cross_entropy(logits, y),
        "kl": lambda logits: _losses.kl(clean, logits),
        "margin": lambda logits: _losses.margin(logits, y).mean(),
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


@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 2))
def test_projection(seed: int, eps: float, spread: float) -> None:
    """Inside, the nearest point there, and nothing moved that was inside."""
    stream, threat = generator(seed), Threat(eps=eps)
    x = torch.rand(3, 1, 4, 4, generator=stream)
    wild = x + spread * torch.randn(x.shape, generator=stream)
    inside = threat.project(wild, x)
    assert not threat.violated(inside, x)
    assert torch.equal(threat.project(inside, x), inside)
    other = threat.project(x + 2 * torch.rand(x.shape, generator=stream) - 1, x)
    assert ((wild - inside).abs() <= (wild - other).abs() + 1e-6).all()


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (0.5, False),
        (0.6, False),
        (0.6 + 5e-7, False),
        (0.61, True),
        (-0.001, True),
        (1.001, True),
        (float("nan"), True),
    ],
)
def test_violations_are_seen(place: float, expected: bool) -> None:
    x = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    x_adv = x.clone()
    x_adv[1, 0, 1, 0] = place
    assert bool(Threat(eps=0.1).violated(x_adv, x)) is expected


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
    eps=st.floats(0, 1),
    steps=st.integers(0, 4),
    size=st.floats(0, 2),
    loss=st.sampled_from(["ce", "kl", "margin"]),
    start=st.sampled_from(["uniform", "gaussian", "none"]),
    mode=st.sampled_from(["eval", "train_frozen", "train"]),
    classes=st.integers(2, 6),
)
def test_always_inside(
    seed: int, eps: float, steps: int, size: float, loss: str, start: str, mode: str, classes: int
) -> None:
    """Whatever the network, the radius and the options; in float32, as in training."""
    model = network(classes=classes, dtype=torch.float32, seed=seed % 1000)
    x, y = batch(classes=classes, dtype=torch.float32, seed=seed)
    attack = Pgd.model_validate(
        {"steps": steps, "step_size": size, "loss": loss, "start": start, "mode": mode, "sigma": 0.5}
    )
    x_adv = attack(model, x, y, Threat(eps=eps), generator=generator(seed))
    assert (x_adv - x).abs().max() <= eps + 1e-6
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1


@pytest.mark.parametrize("eps", [-0.1, 1.5, "nan", True])
def test_wrong_radius(eps: object) -> None:
    with pytest.raises(ValidationError, match="eps"):
        Threat.model_validate({"eps": eps})
