"""Distances of predictions in closed form, at labels' zeros, and where two predictions are one; smoothed labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robustray.attacks.divergences import divergence, of_labels, of_logits
from robustray.attacks.losses import smoothed
from robustray.defenses.score import Divergence


def _kl(p: Tensor, q: Tensor) -> Tensor:
    return (p * (p / q).log()).sum()


def _js(p: Tensor, q: Tensor) -> Tensor:
    return (_kl(p, (p + q) / 2) + _kl(q, (p + q) / 2)) / 2


FORMULAS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "lse": lambda p, q: (p - q).square().sum(),
    "kl": _kl,
    "js": _js,
    "js_sqrt": lambda p, q: _js(p, q).clamp_min(0).sqrt(),  # rounding may take it below 0
    "kl_sqrt": lambda p, q: _kl(p, q).clamp_min(0).sqrt(),
    "rkl_sqrt": lambda p, q: _kl(q, p).clamp_min(0).sqrt(),
    "l1_square": lambda p, q: (p - q).abs().sum().square(),
    "l2": lambda p, q: (p - q).square().sum().sqrt(),
    "linf": lambda p, q: (p - q).abs().max(),
    "lp": lambda p, q: (p - q).abs().pow(3).sum() ** (1 / 3),
}
predictions = st.lists(st.floats(-4, 4), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.float64).view(3, 4)
)


@pytest.mark.parametrize("name", FORMULAS)
@given(predictions, predictions)
def test_divergences_in_closed_form(name: str, a: Tensor, b: Tensor) -> None:
    got = divergence(name, of_logits(a), of_logits(b), 3)
    for value, p, q in zip(got, a.softmax(1), b.softmax(1), strict=True):
        assert value.item() == pytest.approx(FORMULAS[name](p, q).item(), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("name", FORMULAS)
@given(predictions)
def test_a_prediction_is_no_distance_from_itself(name: str, a: Tensor) -> None:
    """And nothing is pushed there, not even by a square root, in float32 neither."""
    for logits in (a, a.float()):
        one, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        value = divergence(name, of_logits(one), of_logits(other))
        gradients = torch.autograd.grad(value.sum(), (one, other))
        assert value.abs().max() <= 1e-3 * (logits.dtype == torch.float32) + 1e-7
        assert all(gradient.isfinite().all() for gradient in gradients)
        kink = name.endswith(("_sqrt", "l2", "linf", "lp"))
        assert kink or gradients[0].abs().max() < 1e-6


def test_distances_of_labels() -> None:
    """LSE(e_i, e_j) = 2, LSE(uniform, e_y) = 1 - 1/K, JS(e_i, e_j) = log 2, KL(e_y || q) = -log q_y, and no NaN at zeros."""
    e = of_labels(torch.eye(4, dtype=torch.float64))
    turned = of_labels(torch.eye(4, dtype=torch.float64).roll(1, 0))
    uniform = of_logits(torch.zeros(4, 4, dtype=torch.float64))
    ones = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(divergence("lse", e, turned), 2 * ones)
    torch.testing.assert_close(divergence("lse", e, uniform), 0.75 * ones)
    torch.testing.assert_close(divergence("js", e, turned), math.log(2) * ones)
    torch.testing.assert_close(divergence("kl", e, uniform), math.log(4) * ones)
    for name in FORMULAS:
        assert (divergence(name, e, e).abs() < 1e-7).all()
        assert divergence(name, e, uniform).isfinite().all()


@pytest.mark.parametrize(
    "root", [lambda p, q: divergence("js_sqrt", p, q), lambda p, q: divergence("lse", p, q).sqrt()]
)
@given(predictions, predictions, predictions)
def test_roots_that_are_metrics(root: Callable[..., Tensor], a: Tensor, b: Tensor, c: Tensor) -> None:
    p, q, r = of_logits(a), of_logits(b), of_logits(c)
    assert (root(p, r) <= root(p, q) + root(q, r) + 1e-7).all()
    torch.testing.assert_close(root(p, q), root(q, p))


@given(predictions, st.floats(0, 0.9))
def test_smoothed_labels(soft: Tensor, amount: float) -> None:
    y = soft.argmax(1)
    everyone, others = smoothed(y, soft, amount, "all"), smoothed(y, soft, amount, "others")
    for p, kept in ((everyone, 1 - amount + amount / 4), (others, 1 - amount)):
        torch.testing.assert_close(p.sum(1), torch.ones(3, dtype=torch.float64))
        torch.testing.assert_close(p.gather(1, y[:, None])[:, 0], torch.full((3,), kept, dtype=torch.float64))
    torch.testing.assert_close(smoothed(y, soft, amount * 3 / 4, "others"), everyone)
    torch.testing.assert_close(smoothed(F.one_hot(y, 4), soft, amount, "others"), others)
    torch.testing.assert_close(F.cross_entropy(soft, everyone), F.cross_entropy(soft, y, label_smoothing=amount))


def test_every_divergence_has_a_formula_here() -> None:
    assert set(get_args(Divergence)) == set(FORMULAS)
