"""Mixtures of probabilities in closed form, and against the originals' numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.derived.mixture import Bypassed, Mixture, OneHot, PowerMap, Scale, mix, parts_of
from robustray.derived.nonlinear import choose, margin


def logits(n: int = 12, classes: int = 10, seed: int = 0, scale: float = 3.0) -> Tensor:
    return scale * torch.randn(n, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Says(nn.Module):
    """A model that gives fixed logits, whatever it sees."""

    def __init__(self, answers: Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, x: Tensor) -> Tensor:
        return self.answers


def mixture(g: Tensor, h: Tensor, alpha: float, s_g: float = 1.0, s_h: float = 1.0) -> Mixture:
    return Mixture(Says(g), Says(h), Scale(s_g), Scale(s_h), alpha)


X = torch.zeros(12, 1, 1, 1, dtype=torch.float64)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 0.5, 0.84, 0.999])
def test_softmax_of_the_mixture_is_the_mixture(alpha: float) -> None:
    g, h = logits(seed=1), logits(seed=2)
    z = mixture(g, h, alpha, 2.0, 0.5)(X)
    wanted = (1 - alpha) * F.softmax(2 * g, 1) + alpha * F.softmax(0.5 * h, 1)
    assert torch.allclose(F.softmax(z, 1), wanted, rtol=1e-12)
    assert torch.allclose(z.exp().sum(1), torch.ones(12, dtype=torch.float64), rtol=1e-12)


def test_the_ends_are_the_parents_bit_for_bit() -> None:
    g, h = logits(seed=1), logits(seed=2)
    assert torch.equal(mixture(g, h, 0)(X), g)
    assert torch.equal(mixture(g, h, 1)(X), h)


def test_scales_flatten_and_sharpen() -> None:
    g, h = logits(seed=1), logits(seed=2)
    flat = F.softmax(mixture(g, h, 0.999999, 1.0, 1e-9)(X), 1)
    assert torch.allclose(flat, torch.full_like(flat, 0.1), atol=1e-5)
    sharp = F.softmax(mixture(g, h, 0.75, 1e4, 1e4)(X), 1)
    assert torch.allclose(
        sharp.gather(1, h.argmax(1, keepdim=True)), torch.tensor(0.75, dtype=torch.float64), atol=0.26
    )


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.001, 0.01), st.integers(0, 1000))
def test_monotone_in_alpha_per_class(alpha: float, more: float, seed: int) -> None:
    g, h = logits(seed=seed), logits(seed=seed + 1)
    before, after = (F.softmax(mix(g, h, a), 1) for a in (alpha, alpha + more))
    rises = F.softmax(h, 1) > F.softmax(g, 1)
    assert bool(((after >= before) == rises).all())


@settings(max_examples=50, deadline=None)
@given(st.floats(0.51, 0.99), st.integers(0, 1000))
def test_a_margin_decides_whatever_the_accurate_one_says(alpha: float, seed: int) -> None:
    """Lemma of arXiv:2301.12554: margin >= (1 - alpha) / alpha keeps h's class against any g, an adversarial one-hot too."""
    h = logits(seed=seed)
    top = h.topk(2, 1).indices
    worst = 1e6 * F.one_hot(top[:, 1], 10).double()
    whole = mixture(worst, h, alpha)
    own, enough = margin(h, h), (1 - alpha) / alpha
    kept = whole(X).argmax(1) == top[:, 0]
    assert bool(kept[own > enough + 1e-9].all())
    assert not bool(kept[own < enough - 1e-9].any()), "an adversary that may say anything wins below it"


def test_nothing_overflows() -> None:
    g, h = logits(seed=1, scale=1e4), logits(seed=2, scale=1e4)
    assert bool(mixture(g, h, 0.5)(X).isfinite().all())
    with torch.enable_grad():
        g.requires_grad_()
        assert bool(torch.autograd.grad(mixture(g, h, 0.5)(X).sum(), g)[0].isfinite().all())


def test_alpha_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="alpha"):
        mixture(logits(), logits(), 1.1)


def test_original_mixtures(golden: Callable[[str], dict[str, Any]]) -> None:
    kept = golden("11_adaptive_smoothing")
    g, h = (torch.from_numpy(kept[f"in/logits_{name}"]) for name in ("std", "rob"))
    names = {key.rsplit("/", 2)[0] for key in kept if key.startswith("float64/") and "/alpha_" in key}
    assert names
    compared = 0
    for name in sorted(names):
        s_g, s_h = (float(kept[f"{name}/set/{which}_scale"]) for which in ("std", "rob"))
        for key in (key for key in kept if key.startswith(f"{name}/alpha_") and key.endswith("/out")):
            alpha = float(kept[f"{key.removesuffix('/out')}/effective_alpha"].ravel()[0])
            ours = Mixture(Says(g), Says(h), Scale(s_g), Scale(s_h), alpha)(torch.zeros(len(g), 1, 1, 1, dtype=g.dtype))
            assert torch.allclose(ours, torch.from_numpy(kept[key]), rtol=1e-10, atol=1e-10), key
            compared += 1
    assert compared >= 10


def test_the_power_map_in_closed_form() -> None:
    z = torch.tensor([[1.0, 2.0, 4.0, -3.0]], dtype=torch.float64)
    s, p, c = 0.7, 2.0, -0.4
    normal = (z - z.mean()) / z.std()
    u = normal + c
    u = 0.5 * u * (1 + torch.erf(u / math.sqrt(2)))
    assert torch.allclose(PowerMap(s, p, c)(z), s * u.sign() * u.abs() ** p, rtol=1e-7)
    assert torch.allclose(PowerMap(s, p, c)(5 * z + 3), PowerMap(s, p, c)(z), rtol=1e-6), (
        "scale and shift are normalised away"
    )


def test_many_classes_are_normalised_by_the_largest() -> None:
    z = logits(3, 600)
    mapped, top = PowerMap(1, 1, 0)(z), z.topk(250, 1).values
    normal = (z - top.mean(1, keepdim=True)) / top.std(1, keepdim=True)
    assert torch.allclose(mapped, F.gelu(normal), rtol=1e-6, atol=1e-9)


def test_the_grid_finds_the_best_by_brute_force() -> None:
    held, wrong = logits(200, seed=3, scale=2.0), logits(60, seed=4, scale=1.0)
    grid = [(s, p, c) for s in (0.3, 1.0, 3.0) for p in (1.0, 2.0, 3.0) for c in (-1.0, 0.0)]
    chosen = choose(held, wrong, 0.9, iter(grid))
    overruled = []
    for s, p, c in grid:
        above, below = (margin(PowerMap(s, p, c)(z), z) for z in (held, wrong))
        cutoff = torch.quantile(above, 0.1)
        overruled.append(float((below >= cutoff).double().mean()))
    assert chosen.overruled == min(overruled)
    assert chosen.kept >= 0.9
    above = margin(PowerMap(chosen.s, chosen.p, chosen.c)(held), held)
    assert float((above >= (1 - chosen.alpha) / chosen.alpha - 1e-12).double().mean()) == chosen.kept


def test_what_stands_in_for_a_mixture() -> None:
    g, h = logits(seed=1), logits(seed=2)
    plain = mixture(g, h, 0.6)
    assert [part(X).argmax(1).equal(z.argmax(1)) for part, z in zip(parts_of(plain), (g, h), strict=True)] == [True] * 2
    sharp = Mixture(Says(g), Says(h), OneHot(), PowerMap(1, 2, -0.5), 0.6)
    *_, bypassed = parts_of(sharp)
    assert isinstance(bypassed, Bypassed)
    wanted = 0.4 * F.softmax(g, 1) + 0.54 * F.softmax(h, 1) + 0.06 * F.softmax(PowerMap(1, 2, -0.5)(h), 1)
    assert torch.allclose(bypassed(X).exp(), wanted, rtol=1e-10)
    assert parts_of(nn.Identity()) == ()


def test_a_map_that_changes_the_class_has_a_negative_margin() -> None:
    z = torch.tensor([[1.0, 0.0, 0.0, -8.0]], dtype=torch.float64)
    assert float(margin(PowerMap(1, 1, -3.0)(z), z)) < 0
    assert float(margin(z, z)) > 0
