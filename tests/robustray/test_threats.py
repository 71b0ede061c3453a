"""Balls and boxes in linf, l2 and l1: projections against oracles, steps, starts, and who is inside."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyautoattack.autopgd_base import L1_projection
from pydantic import ValidationError
from scipy.optimize import brentq
from torch import Tensor

from robustray.attacks import Threat
from robustray.attacks.norms import Norm, Rule
from robustray.attacks.threats import LARGEST, Projection
from tests.robustray.made import generator

NORMS: tuple[Norm, ...] = get_args(Norm)
RULES: tuple[Projection, ...] = get_args(Projection)
DUAL: dict[Norm, float] = {"linf": 1, "l2": 2, "l1": math.inf}
EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}
norms, seeds = st.sampled_from(NORMS), st.integers(0, 2**31)


def length(delta: Tensor, norm: Norm) -> Tensor:
    """Per image, in float64, by numpy: not the code under test."""
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    return torch.from_numpy(np.linalg.norm(delta.double().flatten(1).numpy(), order, axis=1))


def images(seed: int, n: int = 3, d: int = 24, dtype: torch.dtype = torch.float64) -> Tensor:
    """[n, 1, 1, d] with pixels all over [0, 1], both ends included."""
    return (torch.rand(n, 1, 1, d, generator=generator(seed), dtype=dtype) * 1.4 - 0.2).clamp(0, 1)


def wild(x: Tensor, seed: int, spread: float) -> Tensor:
    return x + spread * torch.randn(x.shape, generator=generator(seed + 1), dtype=x.dtype)


def oracle(v: NDArray[np.float64], x: NDArray[np.float64], norm: Norm, eps: float) -> NDArray[np.float64]:
    """The nearest point of ball and box to one image, by root finding on the multiplier of the ball."""
    delta = v - x
    side, size, room = np.sign(delta), np.abs(delta), np.where(delta > 0, 1 - x, x)
    if norm == "linf":
        return np.asarray(x + side * np.minimum(np.minimum(size, eps), room))

    def moved(multiplier: float) -> NDArray[np.float64]:
        smaller = size / (1 + multiplier) if norm == "l2" else np.maximum(size - multiplier, 0)
        return np.asarray(np.minimum(smaller, room))

    def beyond(multiplier: float) -> float:
        return float(np.linalg.norm(moved(multiplier), 2 if norm == "l2" else 1)) - eps

    highest = 1e9 if norm == "l2" else float(size.max())
    multiplier = 0.0 if beyond(0) <= 0 else brentq(beyond, 0, highest, xtol=1e-15, rtol=1e-15, maxiter=1000)
    return np.asarray(x + side * moved(multiplier))


@given(norms, seeds, st.floats(0.01, 1), st.floats(0, 3))
def test_projection_equals_an_oracle(norm: Norm, seed: int, fraction: float, spread: float) -> None:
    x, eps = images(seed), fraction * 3 * EPS[norm]
    outside = wild(x, seed, spread)
    found = Threat(norm=norm, eps=eps).project(outside, x)
    for number in range(len(x)):
        expected = oracle(outside[number].flatten().numpy(), x[number].flatten().numpy(), norm, eps)
        np.testing.assert_allclose(found[number].flatten().numpy(), expected, rtol=0, atol=1e-10)


@given(norms, seeds, st.floats(0.01, 1), st.floats(0, 3))
def test_projection_is_nearest(norm: Norm, seed: int, fraction: float, spread: float) -> None:
    """The angle at p between v and every z of a convex set is obtuse, <v - p, z - p> <= 0, exactly for the nearest p."""
    x, threat = images(seed), Threat(norm=norm, eps=fraction * EPS[norm])
    outside = wild(x, seed, spread)
    p = threat.project(outside, x)
    for number in range(5):
        z = threat.project(wild(x, seed + number, 1), x, "box_ball" if number % 2 else "ball_box")
        assert (((outside - p) * (z - p)).flatten(1).sum(1) <= 1e-9).all()


@given(norms, st.sampled_from(RULES), seeds, st.floats(0, 1), st.floats(0, 3), st.booleans())
def test_projections_are_inside_and_idempotent(
    norm: Norm, rule: Projection, seed: int, fraction: float, spread: float, single: bool
) -> None:
    dtype, rounding = (torch.float32, 1e-6) if single else (torch.float64, 1e-14)
    x, threat = images(seed, dtype=dtype), Threat(norm=norm, eps=fraction * EPS[norm])
    outside = wild(x, seed, spread)
    p = threat.project(outside, x, rule)
    assert p.dtype == dtype
    assert (length(p.double() - x.double(), norm) <= threat.eps + rounding).all()
    assert p.min() >= 0
    assert p.max() <= 1
    assert threat.inside(p, x).all()
    torch.testing.assert_close(threat.project(p, x, rule), p, rtol=0, atol=rounding)


@given(norms, seeds, st.floats(0.01, 1))
def test_what_is_inside_comes_back_bit_for_bit(norm: Norm, seed: int, fraction: float) -> None:
    x, threat = images(seed, dtype=torch.float32), Threat(norm=norm, eps=fraction * EPS[norm])
    within = Threat(norm=norm, eps=0.9 * threat.eps).project(wild(x, seed, 0.1), x)
    assert torch.equal(threat.project(within, x), within)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 4 / 255), ("l2", 3.0), ("l1", 60.0)])
@pytest.mark.parametrize("spread", [0.01, 0.3, 5.0])
def test_projection_of_large_images_in_float32(norm: Norm, eps: float, spread: float) -> None:
    """150,528 pixels, as in ImageNet: sums in float32 keep the answer that float64 gives, and the ball."""
    x = images(3, n=2, d=150_528, dtype=torch.float32)
    outside, threat = wild(x, 4, spread), Threat(norm=norm, eps=eps)
    found = threat.project(outside, x)
    exact = threat.project(outside.double(), x.double())
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=2e-6)
    assert threat.inside(found, x).all()
    assert (length(found.double() - x.double(), norm) <= eps * (1 + 1e-5)).all()


def test_l1_projection_is_that_of_autoattack() -> None:
    """Which computes in float32."""
    x = images(5, n=40, d=300, dtype=torch.float32)
    outside = wild(x, 6, 0.2)
    theirs = outside + L1_projection(x, outside - x, 12.0).view_as(x)
    torch.testing.assert_close(Threat(norm="l1", eps=12).project(outside, x), theirs, rtol=0, atol=1e-5)


def test_three_projections_by_hand() -> None:
    """x = (0.6, 0), d = (0.8, 0.6), eps 0.5 in l2: the first pixel has 0.4 to its end."""
    x = torch.tensor([0.6, 0.0], dtype=torch.float64).view(1, 1, 1, 2)
    outside = x + torch.tensor([0.8, 0.6], dtype=torch.float64)
    expected: dict[Projection, tuple[float, float]] = {
        "nearest": (1.0, 0.3),  # d * t = (0.4, 0.3) is (0.4, 0.3): at t = 1/2 the box is just met
        "box_ball": (0.6 + 0.4 * 0.5 / 0.52**0.5, 0.6 * 0.5 / 0.52**0.5),
        "ball_box": (1.0, 0.3),
    }
    threat = Threat(norm="l2", eps=0.5)
    for rule, place in expected.items():
        assert threat.project(outside, x, rule).flatten().tolist() == pytest.approx(place, abs=1e-12)
    x = torch.tensor([0.7, 0.0], dtype=torch.float64).view(1, 1, 1, 2)  # 0.3 to its end: the way left goes to the other
    outside = x + torch.tensor([0.8, 0.6], dtype=torch.float64)
    assert threat.project(outside, x).flatten().tolist() == pytest.approx((1.0, 0.4), abs=1e-12)
    assert threat.project(outside, x, "ball_box").flatten().tolist() == pytest.approx((1.0, 0.3), abs=1e-12)
    threat = Threat(norm="l1", eps=0.5)
    assert threat.project(outside, x).flatten().tolist() == pytest.approx((1.0, 0.2), abs=1e-12)
    threat = Threat(norm="linf", eps=0.4)
    assert threat.project(outside, x).flatten().tolist() == pytest.approx((1.0, 0.4), abs=1e-12)
    assert threat.project(outside, x, "ball_box").flatten().tolist() == pytest.approx((1.0, 0.3), abs=1e-12)


@given(norms, seeds, st.floats(-30, 30))
def test_steepest_ascent(norm: Norm, seed: int, magnitude: float) -> None:
    """A step u of length one has <g, u> <= the dual norm of g; steepest ascent reaches it, whatever the scale of g."""
    x = torch.full((4, 1, 1, 24), 0.5)
    g = 10**magnitude * torch.randn(x.shape, generator=generator(seed))
    one_pixel = Threat(norm=norm, eps=1).ascend(x, g, 0.25, density=1e-9)  # in l1 the steepest step moves one pixel
    u = (one_pixel - x).double() / 0.25
    torch.testing.assert_close(length(u, norm), torch.ones(4, dtype=torch.float64), rtol=0, atol=1e-6)
    dual = torch.linalg.vector_norm(g.double().flatten(1), DUAL[norm], dim=1)
    torch.testing.assert_close((g.double() * u).flatten(1).sum(1) / dual, torch.ones_like(dual), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("density", "expected"), [(1e-9, 1), (0.01, 1), (0.05, 2), (0.5, 12), (1, 24)])
def test_sparse_steps_move_a_fraction_of_the_pixels(density: float, expected: int) -> None:
    """Those with the largest gradient, each equally far, where none meets its end."""
    x = torch.full((4, 1, 1, 24), 0.5, dtype=torch.float64)
    g = torch.randn(x.shape, generator=generator(1), dtype=torch.float64)
    moved = (Threat(norm="l1", eps=1).ascend(x, g, 0.2, density=density) - x).flatten(1)
    g = g.flatten(1)
    for step, slope in zip(moved, g, strict=True):
        places = slope.abs().argsort(descending=True)[:expected]
        assert set(step.nonzero().flatten().tolist()) == set(places.tolist())
        torch.testing.assert_close(step[places], 0.2 / expected * slope[places].sign())


@pytest.mark.parametrize(
    ("size", "density", "expected"),
    [
        (0.2, 0.01, (0, 0, 0.1, 0.1, 0)),
        (0.2, 0.4, (0, 0, 0.1, 0.1, 0)),
        (0.2, 1, (0, 0, 0.04, 0.04, 0.04)),
        (0.5, 0.01, (0, 0, 0.1, 0.4, 0)),
        (9, 0.01, (0, 0, 0.1, 0.5, 1)),
    ],
)
def test_what_a_pixel_cannot_take_goes_to_the_next(size: float, density: float, expected: tuple[float, ...]) -> None:
    """Steepest first; a pixel that is at its end takes nothing, and none leaves [0, 1]."""
    x = torch.tensor([0.0, 1.0, 0.9, 0.5, 0.0]).view(1, 1, 1, 5)
    g = torch.tensor([-9.0, 8.0, 7.0, 2.0, 1.0]).view(1, 1, 1, 5)
    moved = Threat(norm="l1", eps=1).ascend(x, g, size, density=density) - x
    torch.testing.assert_close(moved.flatten(), torch.tensor([float(way) for way in expected]))


@pytest.mark.parametrize("rule", get_args(Rule))
def test_steps_of_a_rule(rule: Rule) -> None:
    """In every norm; a zero gradient makes no step, and one that is not finite is not hidden."""
    g = torch.tensor([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0], [math.nan, 0.0, 1.0], [math.inf, 0.0, 1.0]]).view(4, 1, 1, 3)
    x = torch.full_like(g, 0.5)
    expected = {"sign": (1, 0, -1), "l2": (0.6, 0, -0.8), "max_abs": (0.75, 0, -1), "sparse": (0, 0, -1)}[rule]
    for norm in NORMS:
        u = (Threat(norm=norm, eps=0.1).ascend(x, g, 0.1, rule=rule) - x) / 0.1
        torch.testing.assert_close(u[0].flatten(), torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-5)
        assert torch.equal(u[1], torch.zeros_like(u[1]))
        assert not u[2].isfinite().all()
        assert not u[3].isfinite().all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", RULES)
def test_a_projection_hides_no_nan(norm: Norm, rule: Projection) -> None:
    x = images(1)
    outside = wild(x, 2, 0.3)
    outside[1, 0, 0, 3] = math.nan
    assert Threat(norm=norm, eps=EPS[norm]).project(outside, x, rule).isnan().flatten(1).any(1).tolist() == [
        False, True, False,
    ]  # fmt: skip


@given(norms, seeds, st.floats(0, 1))
def test_starts_are_inside(norm: Norm, seed: int, fraction: float) -> None:
    x, threat = images(seed, dtype=torch.float32), Threat(norm=norm, eps=fraction * EPS[norm])
    world = torch.get_rng_state()
    start = threat.uniform(x, generator(seed))
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(start, threat.uniform(x, generator(seed)))
    assert threat.inside(start, x).all()
    assert fraction < 1e-3 or not torch.equal(start, x)


def test_starts_fill_the_ball() -> None:
    x = torch.full((4000, 1, 1, 6), 0.5, dtype=torch.float64)
    linf, l2, l1 = (Threat(norm=norm, eps=0.2).uniform(x, generator()) - x for norm in NORMS)
    assert linf.pow(2).mean().item() == pytest.approx(0.2**2 / 3, rel=0.02)
    radius = length(l2, "l2") / 0.2
    quantiles = torch.quantile(radius, torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    assert quantiles.tolist() == pytest.approx([0.1, 0.5, 0.9], abs=0.03)  # uniform in [0, 1]
    assert (l2.flatten(1) / length(l2, "l2")[:, None]).pow(2).mean(0).tolist() == pytest.approx([1 / 6] * 6, rel=0.05)
    torch.testing.assert_close(length(l1, "l1"), torch.full((4000,), 0.2, dtype=torch.float64))
    for start in (linf, l2, l1):
        assert start.flatten(1).mean(0).abs().max() < 0.01


@pytest.mark.parametrize(
    ("norm", "place", "expected"),
    [
        ("linf", 0.6, True),
        ("linf", 0.6 + 5e-7, True),
        ("linf", 0.6 + 2e-6, False),
        ("l2", 0.6, True),
        ("l2", 0.6 + 5e-7, True),
        ("l2", 0.6 + 2e-6, False),
        ("l1", 0.6, True),
        ("l1", 0.6 + 1e-6, True),
        ("l1", 0.6 + 3e-6, False),
        *[(norm, place, False) for norm in NORMS for place in (-0.001, -1e-9, 1.001, math.nan, math.inf)],
    ],
)
def test_inside_is_told_per_image(norm: Norm, place: float, expected: bool) -> None:
    """16 pixels, one of them moved from 0.5 to `place`; the radius is 0.1."""
    x = torch.full((3, 1, 4, 4), 0.5, dtype=torch.float64)
    x_adv, threat = x.clone(), Threat(norm=norm, eps=0.1)
    x_adv[1, 0, 1, 2] = place
    assert threat.inside(x_adv, x).tolist() == [True, expected, True]
    assert threat.violated(x_adv, x).item() is not expected
    assert threat.violated(x_adv, x).shape == ()


@pytest.mark.parametrize(("norm", "inside"), [("linf", True), ("l2", False), ("l1", False)])
def test_a_length_is_taken_over_the_whole_image(norm: Norm, inside: bool) -> None:
    x = torch.full((1, 3, 4, 4), 0.5)
    assert Threat(norm=norm, eps=0.1).inside(x + 0.09, x).tolist() == [inside]


@pytest.mark.parametrize("norm", NORMS)
def test_rounding_is_no_violation(norm: Norm) -> None:
    """Stored in float32, x + delta moves by half a unit in the last place in each of 50,000 pixels; a percent is seen."""
    x = images(9, n=4, d=50_000, dtype=torch.float32)
    eps = {"linf": 0.03, "l2": 3.0, "l1": 500.0}[norm]
    delta = torch.rand(x.shape, generator=generator(), dtype=torch.float64) * torch.where(x < 0.5, 1, -1)
    delta = delta * (eps / length(delta, norm))[:, None, None, None]
    threat = Threat(norm=norm, eps=eps)
    assert threat.inside((x.double() + delta).float(), x).all()
    assert not threat.inside((x.double() + 1.01 * delta).float(), x).any()


def test_no_images_are_inside() -> None:
    x = torch.zeros(0, 3, 4, 4)
    for norm in NORMS:
        threat = Threat(norm=norm, eps=0.1)
        assert threat.inside(x, x).shape == (0,)
        assert not threat.violated(x, x)
        for rule in RULES:
            assert threat.project(x, x, rule).shape == x.shape
        assert threat.ascend(x, x, 0.1).shape == x.shape


@pytest.mark.parametrize("eps", [-0.1, "nan", True, "inf", None])
@pytest.mark.parametrize("norm", NORMS)
def test_what_is_no_radius(norm: Norm, eps: object) -> None:
    with pytest.raises(ValidationError, match="eps"):
        Threat.model_validate({"norm": norm, "eps": eps})


@pytest.mark.parametrize("norm", NORMS)
def test_a_radius_in_grey_levels_is_refused(norm: Norm) -> None:
    """The usual radii of CIFAR-10 pass; 255 times as much is a mistake."""
    largest, usual = LARGEST[norm]
    assert Threat.model_validate({"norm": norm, "eps": largest}).eps == largest
    eps = Threat.model_validate({"norm": norm, "eps": usual}).eps
    with pytest.raises(ValidationError, match=f"must be at most {largest:g}, not {255 * eps:g}: {norm} is measured in"):
        Threat(norm=norm, eps=255 * eps)


def test_an_unknown_norm_is_the_only_mistake() -> None:
    with pytest.raises(ValidationError) as caught:
        Threat.model_validate({"norm": "l3", "eps": 100})
    assert [error["loc"] for error in caught.value.errors()] == [("norm",)]
