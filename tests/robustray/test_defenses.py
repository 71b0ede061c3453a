"""Closed forms of single defenses, and the limits in which one is another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from robustray import Loss, Step, UserError
from robustray.attacks import Pgd, Threat
from robustray.attacks.base import Outputs
from robustray.attacks.divergences import divergence, of_labels, of_logits
from robustray.attacks.pgd import StepSize
from robustray.data.device import DeviceImages
from robustray.defenses import (
    Adversarial,
    Consistency,
    Defense,
    Fast,
    Llr,
    Mart,
    Natural,
    Rst,
    Score,
    ScorePgd,
    SelfSupervised,
    Trades,
    Tulip,
)
from robustray.models.heads import ClassLogits, OwnHead
from robustray.subjects.trial import load_model
from robustray.training import Trainer
from tests.robustray.made import batch, generator, linear, network, trial

CLASSES = 5
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def step(model: nn.Module | None = None, eps: float = 0.1, **options: Any) -> Step:
    x, y = batch()
    return Step(model or network(), x, y, Pgd(steps=3).bind(Threat(eps=eps)), generator=generator(), **options)


def near(x: Tensor) -> Tensor:
    return (x + 0.1 * (2 * torch.rand(x.shape, generator=generator(7), dtype=x.dtype) - 1)).clamp(0, 1)


def logits(x: Tensor) -> Tensor:
    """What the network of `step` says in training mode."""
    output: Tensor = network().train()(x)
    return output


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum(1)


# Natural, adversarial


def test_natural_is_cross_entropy_of_clean_images() -> None:
    one = step()
    assert Natural().perturb(one) is one.x
    torch.testing.assert_close(Natural().loss(one, one.x).total, F.cross_entropy(logits(one.x), one.attacked))


def test_adversarial_is_cross_entropy_at_the_perturbed_images() -> None:
    one = step()
    x_adv = near(one.x)
    torch.testing.assert_close(Adversarial().loss(one, x_adv).total, F.cross_entropy(logits(x_adv), one.attacked))


def test_adversarial_with_clean_images_mixes_batch_statistics() -> None:
    one = step()
    x_adv = near(one.x)
    both = F.cross_entropy(logits(torch.cat([one.x, x_adv])), torch.cat([one.attacked, one.attacked]))
    loss = Adversarial(keep_clean=True).loss(one, x_adv)
    torch.testing.assert_close(loss.total, both)
    assert set(loss.parts) == {"clean", "robust"}


@pytest.mark.parametrize(("fraction", "clean"), [(0.0, 0), (0.2, 1), (0.5, 3), (1.0, 6)])
def test_a_fraction_of_a_batch_stays_clean(fraction: float, clean: int) -> None:
    """The shares are those of the batch as it is, and each has the weight of its images."""
    one = step()
    defense = Adversarial(clean_fraction=fraction)
    x_adv = defense.perturb(one)
    assert torch.equal(x_adv[:clean], one.x[:clean])
    assert all(not torch.equal(a, b) for a, b in zip(x_adv[clean:], one.x[clean:], strict=True))
    loss = defense.loss(one, x_adv)
    losses = F.cross_entropy(logits(x_adv), one.attacked, reduction="none")
    torch.testing.assert_close(loss.total, losses.mean())
    if 0 < clean < 6:
        torch.testing.assert_close(loss.parts["clean"], losses[:clean].sum() / 6)
    mixed = torch.cat([one.x[:clean], near(one.x)[clean:]])
    torch.testing.assert_close(defense.loss(one, near(one.x)).total, F.cross_entropy(logits(mixed), one.attacked))


def test_all_clean_is_natural_training() -> None:
    one = step()
    x_adv = Adversarial(clean_fraction=1).perturb(one)
    assert x_adv is one.x
    losses = [defense.loss(step(), x_adv).total for defense in (Adversarial(clean_fraction=1), Natural())]
    torch.testing.assert_close(losses[0], losses[1])


def test_clean_images_twice_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave clean_fraction at 0"):
        Adversarial(keep_clean=True, clean_fraction=0.5)


def predicted(x: Tensor) -> Tensor:
    return logits(x).argmax(1)


def test_incorrect_images_stay_clean() -> None:
    one = step()
    one.attacked[:3], one.attacked[3:] = predicted(one.x)[:3], (predicted(one.x)[3:] + 1) % CLASSES
    x_adv = Adversarial(ignore_incorrect=True).perturb(one)
    assert torch.equal(x_adv[3:], one.x[3:])
    assert torch.equal(x_adv[:3], Adversarial().perturb(step(targets=one.attacked).but(attacked=one.attacked))[:3])
    assert not torch.equal(x_adv[:3], one.x[:3])


def test_labels_do_not_leak() -> None:
    """Whatever the labels are, x' is the same; the loss has the true ones."""
    one, other = step(), step()
    other = other.but(attacked=(other.attacked + 1) % CLASSES, targets=(other.attacked + 1) % CLASSES)
    defense = Adversarial(prevent_label_leaking=True)
    x_adv = defense.perturb(one)
    assert torch.equal(x_adv, defense.perturb(other))
    assert torch.equal(x_adv, Adversarial().perturb(step().but(attacked=predicted(one.x))))
    torch.testing.assert_close(defense.loss(one, x_adv).total, F.cross_entropy(logits(x_adv), one.attacked))


# Limits


@pytest.mark.parametrize(
    "defense",
    [Trades(beta=0), Rst(lam=0), Tulip(lam=0), Llr(lam=0, mu=0), Score(divergence="kl", beta=0)],
    ids=lambda defense: str(defense.name),
)
def test_without_weights_it_is_natural_training(defense: Defense) -> None:
    one = step()
    loss = defense.loss(one, one.x if isinstance(defense, Tulip) else near(one.x))
    torch.testing.assert_close(loss.total, F.cross_entropy(logits(one.x), one.attacked))


def test_without_weights_it_is_adversarial_training_of_what_it_attacks() -> None:
    one = Consistency(lam=0).prepare(step())
    x_adv = near(one.x)
    torch.testing.assert_close(Consistency(lam=0).loss(one, x_adv).total, F.cross_entropy(logits(x_adv), one.attacked))
    one = SelfSupervised(weight=0).prepare(step(heads()))
    x_adv = near(one.x)
    outputs = heads()[:-1].train()(x_adv)[:3, :5]
    torch.testing.assert_close(
        SelfSupervised(weight=0).loss(one, x_adv).total, F.cross_entropy(outputs, one.attacked[:3])
    )


@pytest.mark.parametrize(
    ("defense", "times"),
    [(Trades(), 1), (Llr(), 1), (Rst(lam=2), 3), (Adversarial(), 1), (Fast(), 1), (Score(divergence="kl"), 1)],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_without_a_radius_it_is_natural_training(defense: Defense, times: float) -> None:
    """x' = x: what compares them is nothing, what adds them adds the same."""
    one = step(eps=0)
    x_adv = defense.perturb(one)
    assert torch.equal(x_adv, one.x)
    torch.testing.assert_close(defense.loss(one, x_adv).total, times * F.cross_entropy(logits(one.x), one.attacked))


def test_mart_without_a_radius_is_its_boosted_term() -> None:
    one = step(eps=0)
    p = logits(one.x).softmax(1)
    boosted = (
        F.cross_entropy(logits(one.x), one.attacked)
        - (1.0001 - p.scatter(1, one.attacked[:, None], 0).amax(1)).log().mean()
    )
    torch.testing.assert_close(Mart().loss(one, one.x).total, boosted)


# TRADES, MART, RST


def test_trades_without_weight_is_cross_entropy() -> None:
    one = step()
    loss = Trades(beta=0).loss(one, near(one.x))
    torch.testing.assert_close(loss.total, F.cross_entropy(logits(one.x), one.attacked))
    assert loss.parts["robust"] == 0


@pytest.mark.parametrize("beta", [0.5, 6.0])
def test_trades_in_closed_form(beta: float) -> None:
    one = step()
    x_adv = near(one.x)
    p, q = logits(one.x).softmax(1), logits(x_adv).softmax(1)
    loss = Trades(beta=beta).loss(one, x_adv)
    torch.testing.assert_close(
        loss.parts["robust"], beta * kl(p, q).mean()
    )  # over classes the sum, over the batch the mean
    torch.testing.assert_close(loss.parts["clean"], F.cross_entropy(logits(one.x), one.attacked))


def test_trades_at_the_clean_images_has_no_robust_term() -> None:
    one = step()
    assert Trades().loss(one, one.x.clone()).parts["robust"].abs() < 1e-12


def test_trades_attacks_from_a_gaussian() -> None:
    """With a uniform start its attack would be another one: the authors' is published with the defense."""
    assert Trades().attack_with(None) == Pgd(start="gaussian")
    assert Adversarial().attack_with(None) == Pgd()


def test_mart_in_closed_form() -> None:
    """Three classes: by hand."""
    clean, robust = torch.tensor([[2.0, 0, 1], [0, 0, 1]]), torch.tensor([[0.0, 1, 2], [1, 3, 0]])
    y = torch.tensor([0, 1])
    x = torch.zeros(2, 1, 1, 1)

    class Said(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return robust if images.sum() > 0 else clean

    one = Step(Said(), x, y, Pgd().bind(Threat(eps=1)))
    loss = Mart(beta=2).loss(one, x + 1)
    p, q = clean.softmax(1), robust.softmax(1)
    wrong = torch.stack([q[0, 2], q[1, 0]])  # the first image is misclassified, the second is not
    boosted = -torch.stack([q[0, 0], q[1, 1]]).log() - (1.0001 - wrong).log()
    doubt = 1 - torch.stack([p[0, 0], p[1, 1]])
    torch.testing.assert_close(loss.parts["boosted"], boosted.mean())
    torch.testing.assert_close(loss.parts["robust"], 2 * (kl(p, q) * doubt).mean())


def test_mart_at_uniform_predictions() -> None:
    """BCE = log K - log(1.0001 - 1 / K), and no robust term."""
    model = linear(torch.zeros(10, 4, dtype=torch.float64))
    x = torch.rand(3, 1, 2, 2, dtype=torch.float64, generator=generator())
    loss = Mart().loss(Step(model, x, torch.arange(3), Pgd().bind(Threat(eps=0.1))), x)
    assert loss.parts["boosted"].item() == pytest.approx(math.log(10) - math.log(1.0001 - 0.1), rel=1e-12)
    assert loss.parts["robust"].abs() < 1e-12


@pytest.mark.parametrize("beta", [0.0, 5.0])
def test_a_network_that_died_stays_a_constant_classifier_under_mart(beta: float) -> None:
    """Why narrow ones collapse: uniform answers of dead ReLUs are a stationary point, with the loss that the docstring has."""
    convolution, head = nn.Conv2d(1, 2, 3, padding=1).double(), nn.Linear(32, 10).double()
    for layer, bias in ((convolution, -9.0), (head, 0.0)):
        assert layer.bias is not None
        nn.init.constant_(layer.bias, bias)
    network = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), head)
    x = torch.rand(20, 1, 4, 4, dtype=torch.float64, generator=generator())
    one = Step(network, x, torch.arange(20) % 10, Pgd().bind(Threat(eps=0.12)))
    loss = Mart(beta=beta).loss(one, near(x)).total
    assert loss.item() == pytest.approx(math.log(10) - math.log(1.0001 - 0.1), rel=1e-12)
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    assert all(each is not None and each.abs().max() < 1e-15 for each in gradients)


def test_mart_counts_no_more_than_trades() -> None:
    """Its robust term is that of TRADES, each image weighted by its doubt."""
    one = step()
    x_adv = near(one.x)
    mart, trades = (defense.loss(one, x_adv).parts["robust"].item() for defense in (Mart(beta=3), Trades(beta=3)))
    assert 0 < mart < trades


@pytest.mark.parametrize("lam", [0.0, 0.5, 4.0])
def test_rst_is_a_weighted_sum(lam: float) -> None:
    one = step()
    x_adv = near(one.x)
    expected = Natural().loss(one, one.x).total + lam * Adversarial().loss(one, x_adv).total
    torch.testing.assert_close(Rst(lam=lam).loss(one, x_adv).total, expected)


@given(st.lists(st.booleans(), min_size=6, max_size=6), st.sampled_from([0.0, 0.3, 1.0, 2.0]))
def test_rst_weighs_images_with_pseudo_labels(pseudo: list[bool], weight: float) -> None:
    one = step(pseudo=torch.tensor(pseudo))
    x_adv = near(one.x)
    loss = Rst(lam=2, unlabeled_weight=weight).loss(one, x_adv)
    weights = torch.tensor([weight if p else 1.0 for p in pseudo], dtype=torch.float64)
    assert loss.total.isfinite()
    if weights.sum() > 0:
        clean, robust = (F.cross_entropy(logits(x), one.attacked, reduction="none") for x in (one.x, x_adv))
        torch.testing.assert_close(loss.total, (weights * (clean + 2 * robust)).sum() / weights.sum())


# TULIP, LLR


def two_classes(slope: Tensor) -> nn.Module:
    """Logits (0, slope . x): the loss of label 0 is log(1 + exp(slope . x))."""
    return linear(torch.stack([torch.zeros_like(slope), slope]))


def test_tulip_where_the_loss_is_linear() -> None:
    """Far on the wrong side l(x) = a . x: the penalty is ||a||^2 / 2 for every h."""
    slope = torch.linspace(50, 60, 6, dtype=torch.float64)
    x = torch.full((4, 1, 1, 6), 0.9, dtype=torch.float64)
    one = Step(two_classes(slope), x, torch.zeros(4, dtype=torch.int64), Pgd().bind(Threat(eps=0)))
    for h in (1e-2, 0.1, 0.5):
        loss = Tulip(lam=3, h=h).loss(one, x)
        assert loss.parts["slope"].item() == pytest.approx(1.5 * slope.square().sum().item(), rel=1e-6)
        assert loss.parts["clean"].item() == pytest.approx((x[0].flatten() @ slope).item(), rel=1e-12)


def test_tulip_of_a_linear_model() -> None:
    """Logistic loss log(1 + exp(m)), m = a . x: it looks from m to m + h ||a||; its penalty tends to s(m)^2 ||a||^2 / 2."""
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    x = torch.rand(5, 1, 1, 3, dtype=torch.float64, generator=generator())
    one = Step(two_classes(slope), x, torch.zeros(5, dtype=torch.int64), Pgd().bind(Threat(eps=0)))
    m, length = x.flatten(1) @ slope, slope.norm()
    for h in (1.0, 0.1, 1e-5):
        exact = ((F.softplus(m + h * length) - F.softplus(m)) / h).square().mean() / 2
        torch.testing.assert_close(Tulip(lam=1, h=h).loss(one, x).parts["slope"], exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(exact, (m.sigmoid() * length).square().mean() / 2, rtol=1e-4, atol=0)


def test_tulip_where_the_loss_is_flat() -> None:
    model = linear(torch.zeros(3, 4, dtype=torch.float64))
    x = torch.rand(2, 1, 1, 4, dtype=torch.float64, generator=generator())
    loss = Tulip().loss(Step(model, x, torch.tensor([0, 1]), Pgd().bind(Threat(eps=0))), x)
    assert loss.parts["slope"] == 0
    assert loss.parts["clean"].item() == pytest.approx(math.log(3))


class Quadratic(nn.Module):
    """Two logits whose cross-entropy is c ||x||^2 / 2 + a . x plus a constant, as far on the wrong side as they are."""

    def __init__(self, curvature: float, slope: Tensor) -> None:
        super().__init__()
        self.curvature, self.slope = curvature, nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        loss = 100 + self.curvature * flat.square().sum(1) / 2 + flat @ self.slope
        return torch.stack([torch.zeros_like(loss), loss], 1)


INSIDE = torch.tensor([[0.4, 0.5, 0.6, 0.5], [0.3, 0.7, 0.5, 0.4]], dtype=torch.float64).view(2, 1, 2, 2)


def curved(curvature: float, norm: Any = "linf", eps: float = 0.1, **attack: Any) -> Step:
    slope = torch.tensor([1.0, -2.0, 3.0, -4.0], dtype=torch.float64)
    bound = Llr().attack_with(Pgd(**attack)).bind(Threat(norm=norm, eps=eps))
    return Step(Quadratic(curvature, slope), INSIDE, torch.zeros(2, dtype=torch.int64), bound, generator=generator())


def test_llr_of_a_linear_loss() -> None:
    """It does not deviate; the linear term is mu |a . d|."""
    one = curved(0)
    x_adv = Llr().perturb(one)
    d = (x_adv - INSIDE).flatten(1)
    loss = Llr(lam=4, mu=3).loss(one, x_adv)
    assert loss.parts["deviation"].abs() < 1e-10
    slope = one.model.slope
    assert isinstance(slope, Tensor)
    torch.testing.assert_close(loss.parts["slope"], 3 * (d @ slope).abs().mean())


@pytest.mark.parametrize(("norm", "eps", "farthest"), [("linf", 0.1, 4 * 0.01), ("l2", 0.3, 0.09)])
@pytest.mark.parametrize("curvature", [2.0, -2.0])
def test_llr_of_a_quadratic_loss(norm: str, eps: float, farthest: float, curvature: float) -> None:
    """It deviates by |c| ||d||^2 / 2, whose maximum in the ball, |c| D eps^2 / 2 in linf, the attack finds."""
    one = curved(curvature, norm, eps, steps=20)
    x_adv = Llr().perturb(one)
    d = (x_adv - INSIDE).flatten(1)
    torch.testing.assert_close(d.square().sum(1), torch.full((2,), farthest, dtype=torch.float64))
    loss = Llr(lam=4, mu=3).loss(one, x_adv)
    assert loss.parts["deviation"].item() == pytest.approx(4 * abs(curvature) * farthest / 2)
    slope = one.model.slope
    assert isinstance(slope, Tensor)
    along = ((curvature * INSIDE.flatten(1) + slope) * d).sum(1)
    torch.testing.assert_close(loss.parts["slope"], 3 * along.abs().mean())


def test_llr_is_per_image() -> None:
    """Of each image alone, added up: no inner product of one image's gradient with another's perturbation."""
    model = network().eval()
    model[1] = nn.Identity()  # batch statistics alone couple images
    x, y = batch()
    x_adv = near(x)
    bound = Pgd().bind(Threat(eps=0.1))
    whole = Llr().loss(Step(model, x, y, bound), x_adv)
    alone = [Llr().loss(Step(model, x[i : i + 1], y[i : i + 1], bound), x_adv[i : i + 1]) for i in range(6)]
    for name, part in whole.parts.items():
        torch.testing.assert_close(part, torch.stack([loss.parts[name] for loss in alone]).mean())
        assert part > 1e-6


@pytest.mark.parametrize("defense", [Tulip(h=1e-9), Llr(lam=1e9, mu=0)], ids=["tulip", "llr"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_finite_differences_share_dropout_masks(defense: Defense, device: str) -> None:
    """With masks of their own the difference over a step of almost nothing would be enormous."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 5).double()).to(device)
    x, y = (tensor.to(device) for tensor in batch())
    one = Step(model, x, y, Pgd().bind(Threat(eps=0.1)))
    with torch.random.fork_rng():
        torch.manual_seed(3)
        loss = defense.loss(one, x if isinstance(defense, Tulip) else x + 1e-9)
        after = torch.rand(5, device=device)
        torch.manual_seed(3)
        one.logits(x)
        assert torch.equal(torch.rand(5, device=device), after)  # one set of masks was drawn
    assert (loss.total - loss.parts["clean"]).abs() < 100
    different = one.logits(x)
    assert not torch.equal(different, one.logits(x))


# SCORE


def test_score_of_kl_is_trades_and_adversarial_training() -> None:
    """With hard labels, in loss and in attack."""
    for score, other in ((Score(divergence="kl", beta=3), Trades(beta=3)), (ScorePgd(divergence="kl"), Adversarial())):
        steps = step(), step()
        x_adv = [d.perturb(one) for d, one in zip((score, other), steps, strict=True)]
        torch.testing.assert_close(x_adv[0], x_adv[1])
        losses = [d.loss(one, near(one.x)).total for d, one in zip((score, other), steps, strict=True)]
        torch.testing.assert_close(losses[0], losses[1])


def test_score_in_closed_form() -> None:
    t = torch.full((6, 5), 0.1 / 4, dtype=torch.float64).scatter(1, batch()[1][:, None], 0.9)
    one = step(targets=t)
    x_adv = near(one.x)
    p, q = logits(one.x).softmax(1), logits(x_adv).softmax(1)
    loss = Score(beta=4).loss(one, x_adv)
    torch.testing.assert_close(loss.parts["clean"], (p - t).square().sum(1).mean())
    torch.testing.assert_close(loss.parts["robust"], 4 * (q - p).square().sum(1).mean())
    pgd = ScorePgd().loss(one, x_adv)
    torch.testing.assert_close(pgd.total, (q - t).square().sum(1).mean())


@pytest.mark.parametrize(
    ("name", "clip", "bound"),
    [("lse", 0.4, 0.4**2 * 5 / 4), ("lse", 0.3, 0.3**2 * 5 / 4), ("kl", 0.4, -math.log(0.6)), ("linf", 0.4, 0.4)],
)
def test_score_counts_from_a_bound(name: Any, clip: float, bound: float) -> None:
    one = step()
    x_adv = near(one.x)
    e = of_labels(F.one_hot(one.attacked, 5).double())
    p, q = of_logits(logits(one.x)), of_logits(logits(x_adv))
    to_label, to_clean, attacked = (divergence(name, a, b) for a, b in ((e, p), (p, q), (e, q)))
    expected = {
        ScorePgd(divergence=name, clip=clip): (attacked - bound).clamp_min(0).mean(),
        Score(divergence=name, clip=clip, beta=9): to_label.mean() + 9 * (to_clean - bound).clamp_min(0).mean(),
        Score(divergence=name, clip=clip, beta=9, clips="total"): (to_label + 9 * to_clean - bound).clamp_min(0).mean(),
    }
    for defense, value in expected.items():
        torch.testing.assert_close(defense.loss(one, x_adv).total, value)


def test_bounds_of_ten_classes() -> None:
    """As published: 0.17778 at c 0.4 and 0.1 at c 0.3."""
    for clip, bound in ((0.4, 0.17778), (0.3, 0.1)):
        uniform, far = torch.zeros(1, 10), torch.zeros(1, 10)
        far[0, 0] = 100
        left = ScorePgd(clip=clip)._bounded(divergence("lse", of_logits(far), of_logits(uniform)), uniform)
        assert left.item() == pytest.approx(0.9 - bound, abs=1e-5)


def test_a_root_does_not_stop_the_attack_near_the_clean_images() -> None:
    """In float32 the distance of two almost equal predictions is all rounding, and a square root of it has no slope."""
    model, (x, y) = network(dtype=torch.float32), batch(dtype=torch.float32)
    bound = Score().attack_with(Pgd(start="gaussian", sigma=1e-6, steps=5)).bind(Threat(eps=0.1))
    x_adv = Score(divergence="js_sqrt").perturb(Step(model, x, y, bound, generator=generator()))
    assert ((x_adv - x).abs().amax((1, 2, 3)) > 0.05).all()


# Fast, consistency, self-supervision


def test_fast_is_one_step_from_a_random_start() -> None:
    one = step()
    one.bound = Fast().published_attack.bind(Threat(eps=0.1))
    start = Threat(eps=0.1).uniform(one.x, generator())
    leaf = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(one.model.eval()(leaf), one.attacked), leaf)
    expected = Threat(eps=0.1).project(start + 0.125 * gradient.sign(), one.x)
    torch.testing.assert_close(Fast().perturb(one), expected)


def test_consistency_in_closed_form() -> None:
    x, y = batch()
    other = x.flip(-1)
    one = Consistency().prepare(step(view=lambda: (other, y)))
    assert torch.equal(one.x, torch.cat([x, other]))
    x_adv = near(one.x)
    z = logits(x_adv)
    p, q = (z[:6] / 0.5).softmax(1), (z[6:] / 0.5).softmax(1)
    js = (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2
    loss = Consistency(lam=3, temperature=0.5).loss(one, x_adv)
    torch.testing.assert_close(loss.parts["consistency"], 3 * js.mean())
    torch.testing.assert_close(loss.parts["robust"], F.cross_entropy(z, torch.cat([y, y])))


def test_equal_views_are_consistent() -> None:
    one = Consistency().prepare(step())
    assert torch.equal(one.x[:6], one.x[6:])
    loss = Consistency().loss(one, one.x)
    assert loss.parts["consistency"].abs() < 1e-12


def test_the_trainer_draws_two_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same images, each augmented on its own."""
    seen: list[Tensor] = []

    def spy(defense: Consistency, one: Step) -> Tensor:
        seen.append(one.x.clone())
        return one.x

    monkeypatch.setattr(Consistency, "perturb", spy)
    trainer = Trainer(trial(defense="consistency", batch={"size": 400, "augment": ["flip"]}), tmp_path, device="cpu")
    trainer.epoch()
    views = seen[0].chunk(2)
    flipped = views[1].flip(-1)
    agree = torch.stack([(views[0] == other).flatten(1).all(1) for other in (views[1], flipped)])
    assert agree.any(0).all()  # the same image, or its mirror image
    assert 100 < int((~agree[0]).sum()) < 300


def heads() -> nn.Sequential:
    return network(aux_outputs=4)


def test_only_training_sees_the_auxiliary_head(tmp_path: Path) -> None:
    """A trained model, as it is judged, says classes; the head's weights are in its checkpoint."""
    report = Trainer(trial(defense="self_supervised"), tmp_path, device="cpu").run()
    config, model, weights = load_model(tmp_path, "cpu")
    assert weights == report["weights"]
    rows = config.judge.lists()[1]
    images = DeviceImages(config.judge.data.load("validation").take(rows), torch.device("cpu"))
    x, y = images.batch(slice(None))
    with torch.no_grad():
        logits = model(x)
    assert logits.shape == (len(rows), 10)
    assert (logits.argmax(1) == y).float().mean().item() == pytest.approx(report["clean_accuracy"])
    assert [*model.state_dict().values()][-1].shape == (14,)


def test_own_head_is_cross_entropy_of_ones_own_head() -> None:
    x, y = batch()
    model, end = heads().eval(), ClassLogits(5)
    auxiliary = torch.tensor([False, True, False, True, True, False])
    turns = torch.tensor([0, 3, 0, 1, 2, 0])
    labels = torch.where(auxiliary, 5 + turns, y)
    outputs = model[:-1](x)
    own = OwnHead(model, auxiliary)(x)
    assert torch.equal(model(x), end(outputs))
    assert model(x).shape == (6, 5)
    losses = F.cross_entropy(own, labels, reduction="none")
    expected = torch.where(
        auxiliary,
        F.cross_entropy(outputs[:, 5:], turns, reduction="none"),
        F.cross_entropy(outputs[:, :5], y, reduction="none"),
    )
    torch.testing.assert_close(losses, expected)


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ValueError, match="no auxiliary outputs"):
        SelfSupervised().prepare(step())


@pytest.mark.parametrize("shape", [(4, 2, 6, 5), (1, 2, 6, 6)])
def test_what_cannot_be_turned_is_refused(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=generator())
    one = Step(heads(), x, torch.zeros(len(x), dtype=torch.int64), Pgd().bind(Threat(eps=0.1)))
    with pytest.raises(UserError, match=f"not {shape[0]} of 6x{shape[3]}"):
        SelfSupervised().prepare(one)


def test_rotations_round_trip() -> None:
    """Turned back by its label every image is what it was; labelled images are untouched."""
    x, y = batch(41)
    one = SelfSupervised().prepare(Step(heads(), x, y, Pgd().bind(Threat(eps=0.1)), generator=generator()))
    assert torch.equal(one.x[:21], x[:21])
    assert torch.equal(one.attacked[:21], y[:21])
    turns = one.attacked[21:] - 5
    assert set(turns.tolist()) == {0, 1, 2, 3}
    for image, k, original in zip(one.x[21:], turns.tolist(), x[21:], strict=True):
        assert torch.equal(image.rot90(-k, (1, 2)), original)


def test_self_supervision_in_closed_form() -> None:
    one = SelfSupervised().prepare(step(heads()))
    x_adv = near(one.x)
    outputs = heads()[:-1].train()(x_adv)
    loss = SelfSupervised(weight=2).loss(one, x_adv)
    torch.testing.assert_close(loss.parts["robust"], F.cross_entropy(outputs[:3, :5], one.attacked[:3]))
    torch.testing.assert_close(loss.parts["rotation"], 2 * F.cross_entropy(outputs[3:, 5:], one.attacked[3:] - 5))


def test_each_half_is_attacked_through_its_own_head() -> None:
    """With two heads on different pixels, x' moves those of its own head alone."""
    weight = torch.zeros(9, 8, dtype=torch.float64)
    weight[:5, :4] = torch.randn(5, 4, generator=generator(), dtype=torch.float64)
    weight[5:, 4:] = torch.randn(4, 4, generator=generator(1), dtype=torch.float64)
    model = nn.Sequential(*linear(weight), ClassLogits(5))
    x = torch.full((6, 2, 2, 2), 0.5, dtype=torch.float64)
    y = torch.arange(6) % 5
    one = SelfSupervised().prepare(Step(model, x, y, Pgd(start="none").bind(Threat(eps=0.1)), generator=generator()))
    moved = (SelfSupervised().perturb(one) - one.x).abs().amax((2, 3))
    assert (moved[:3, 0] > 0.05).all()
    assert (moved[3:, 1] > 0.05).all()
    assert moved[:3, 1].abs().max() == moved[3:, 0].abs().max() == 0


# Steps


def test_an_objective_is_climbed_unless_the_attack_has_a_loss() -> None:
    x, y = batch()
    away = lambda outputs, _: -F.cross_entropy(outputs.logits, y)  # noqa: E731  # the opposite of an attack
    model, threat = network(), Threat(eps=0.1)

    def loss_after(attack: Pgd) -> float:
        x_adv = Step(model, x, y, attack.bind(threat), generator=generator()).attack(away)
        return F.cross_entropy(model.eval()(x_adv), y).item()

    clean = F.cross_entropy(model.eval()(x), y).item()
    assert loss_after(Pgd()) < clean < loss_after(Pgd(loss="ce"))


def test_an_objective_sees_logits_and_images() -> None:
    x, y = batch()
    seen: list[tuple[torch.Size, bool]] = []

    def objective(outputs: Outputs, x_adv: Tensor) -> Tensor:
        seen.append((outputs.logits.shape, x_adv.requires_grad))
        total: Tensor = outputs.logits.sum()
        return total

    Step(network(), x, y, Pgd(steps=2).bind(Threat(eps=0.1))).attack(objective)
    assert seen == [(torch.Size([6, 5]), True)] * 2


def test_a_loss_has_parts() -> None:
    with pytest.raises(ValueError, match="at least one part"):
        Loss()


@pytest.mark.parametrize("restarts", [0, 2])
def test_a_part_of_a_step_is_that_of_its_images(restarts: int) -> None:
    """Starts, which may be of several restarts, go with them."""
    x, y = batch()
    start = near(x) if not restarts else torch.stack([near(x), x])
    attack = Pgd(steps=3, step_size=StepSize(of_eps=0.3), restarts=max(restarts, 1)).bind(Threat(eps=0.1))
    one = Step(network(), x, y, attack, start=start, targets=(y + 1) % 5, pseudo=y > 2)
    part = one.part(slice(2, 5))
    torch.testing.assert_close(part.attack(), one.attack()[2:5])
    assert torch.equal(part.targets, (y[2:5] + 1) % 5)
    assert part.pseudo is not None
    assert torch.equal(part.pseudo, y[2:5] > 2)


def test_trades_stays_finite_where_a_clean_probability_underflows() -> None:
    """softmax([0, 150, 3]) has a zero in float32, whose logarithm is not: the gradient is of p log p, not of 0 * inf."""
    clean = torch.tensor([[0.0, 150.0, 3.0]], requires_grad=True)
    robust = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    loss = divergence("kl", of_logits(clean), of_logits(robust)).mean()
    got = torch.autograd.grad(loss, [clean, robust])
    exact = [tensor.detach().double().requires_grad_() for tensor in (clean, robust)]
    p, q = (F.log_softmax(tensor, 1) for tensor in exact)
    wanted = torch.autograd.grad((p.exp() * (p - q)).sum(), exact)
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-6, atol=1e-30)
