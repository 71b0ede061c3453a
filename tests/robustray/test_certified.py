"""Certified radii: closed forms, the lemma that they rest on, and bounds that hold as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtri
from scipy.stats import binom

from robustray.certify import bounds, claims
from robustray.certify.counting import Noise
from robustray.certify.curves import CLAIMS, FORMS, STEPS, Counted, table
from robustray.certify.radii import Floats, lipschitz_radius, needed, noise_constant, smoothing_radius

TOP, SECOND = np.array([0.9]), np.array([0.1])
UNIT = st.floats(0.001, 0.999)


SHARES = st.floats(0.01, 0.999).flatmap(lambda top: st.tuples(st.just(top), st.floats(0, min(top, 1 - top))))
"""Of a top class and a second."""


@pytest.mark.parametrize(
    ("alpha", "radius"), [(1, 1.28155), (0.76, 0.47891), (0.67, 0.26112), (0.5, 0), (0.3, 0), (0, 0)]
)
def test_radii_by_smoothing(alpha: float, radius: float) -> None:
    assert smoothing_radius(TOP, SECOND, alpha, 1.0) == pytest.approx(radius, abs=1e-5)
    assert smoothing_radius(TOP, SECOND, alpha, 0.25) == pytest.approx(radius / 4, abs=1e-5)


@pytest.mark.parametrize(
    ("alpha", "radius"), [(1, 0.50133), (0.76, 0.30343), (0.67, 0.19267), (0.5, 0), (0.3, 0), (0, 0)]
)
def test_radii_by_the_lipschitz_constant(alpha: float, radius: float) -> None:
    assert lipschitz_radius(TOP, SECOND, alpha, noise_constant(1.0)) == pytest.approx(radius, abs=1e-5)


@given(shares=SHARES, sigma=st.floats(0.05, 2))
def test_the_whole_share_is_cohens_radius(shares: tuple[float, float], sigma: float) -> None:
    top, second = map(np.array, shares)
    wanted = sigma / 2 * (ndtri(top) - ndtri(second)) if second > 0 else math.inf
    assert smoothing_radius(top, second, 1.0, sigma) == pytest.approx(wanted, abs=1e-9)


@given(shares=SHARES, alphas=st.tuples(st.floats(0, 1), st.floats(0, 1)), sigma=st.floats(0.05, 2))
def test_more_of_the_smoothed_part_certifies_more(
    shares: tuple[float, float], alphas: tuple[float, float], sigma: float
) -> None:
    """And the form for noise is never behind the one by its Lipschitz constant; both are positive from one margin on."""
    top, second = map(np.array, shares)
    low, high = sorted(alphas)
    constant = noise_constant(sigma)
    assert smoothing_radius(top, second, low, sigma) <= smoothing_radius(top, second, high, sigma) + 1e-12
    assert lipschitz_radius(top, second, low, constant) <= lipschitz_radius(top, second, high, constant) + 1e-12
    noise, plain = smoothing_radius(top, second, high, sigma), lipschitz_radius(top, second, high, constant)
    assert noise >= plain - 1e-9
    gap = high * (top - second) + high - 1
    assume(abs(gap) > 1e-9)
    assert (noise > 0) == (plain > 0) == (gap > 0)


@given(top=st.floats(0.01, 0.999), alpha=st.floats(0.51, 1), sigma=st.floats(0.05, 2))
def test_without_a_runner_up_the_share_that_a_radius_needs(top: float, alpha: float, sigma: float) -> None:
    """sigma Phi^-1(alpha h_top), inverted."""
    radius = smoothing_radius(np.array([top]), np.array([1 - top]), alpha, sigma)
    assert radius == pytest.approx(max(0.0, sigma * ndtri(alpha * top)), abs=1e-9)
    assume(radius > 1e-6)
    assert needed(radius, alpha, sigma) == pytest.approx(top)


@pytest.mark.parametrize(
    "bad", [{"alpha": -0.1}, {"alpha": 1.1}, {"alpha": math.nan}, {"sigma": 0.0}, {"sigma": math.inf}]
)
def test_what_is_no_share_or_deviation(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="alpha must lie"):
        smoothing_radius(TOP, SECOND, **({"alpha": 0.8, "sigma": 1.0} | bad))


@given(alpha=st.floats(0.51, 1), seed=st.integers(0, 10_000), classes=st.integers(2, 6))
def test_a_margin_decides_whatever_the_other_classifier_says(alpha: float, seed: int, classes: int) -> None:
    """And no smaller margin does: one-hot answers are the worst there are."""
    h = np.random.default_rng(seed).dirichlet(np.full(classes, 0.4))
    second, top = np.sort(h)[-2:]
    mixtures = (1 - alpha) * np.eye(classes) + alpha * h
    margin = (1 - alpha) / alpha
    assume(abs(top - second - margin) > 1e-9)
    assert bool((mixtures.argmax(1) == h.argmax()).all()) == (top - second > margin)


@pytest.mark.parametrize("alpha", [0.6, 0.8, 1.0])
def test_along_a_line_the_class_stands_within_the_radius(alpha: float) -> None:
    """Of a half-space under noise, 0.8 away from its border; for the smoothed classifier alone the radius is that distance."""
    sigma, distance = 0.5, 0.8
    x = np.linspace(0, 2, 4001)
    h = needed(distance - x, 1.0, sigma)  # Phi((distance - x) / sigma), of the class at x = 0
    stands = alpha * h > (1 - alpha) + alpha * (1 - h)
    radius = float(smoothing_radius(h[:1], 1 - h[:1], alpha, sigma)[0])
    assert np.all(stands[x < radius - 1e-3])
    if alpha == 1:
        assert radius == pytest.approx(distance)
        assert not np.any(stands[x > radius + 1e-3])


@given(samples=st.integers(1, 10_000), share=st.floats(0, 1), level=st.floats(1e-9, 0.4))
def test_bounds_are_where_the_tails_are_the_level(samples: int, share: float, level: float) -> None:
    """P(X >= count) = level at the lower bound, P(X <= count) = level at the upper one."""
    count = np.array([round(share * samples)])
    low, high = bounds.lower(count, samples, level), bounds.upper(count, samples, level)
    assert 0 <= low[0] <= count[0] / samples <= high[0] <= 1
    if count[0] > 0:
        assert float(np.squeeze(binom.sf(count - 1, samples, low))) == pytest.approx(level, rel=1e-4)
    if count[0] < samples:
        assert float(np.squeeze(binom.cdf(count, samples, high))) == pytest.approx(level, rel=1e-4)
    assert high[0] == pytest.approx(1 - bounds.lower(samples - count, samples, level)[0])


@given(samples=st.integers(1, 100_000), level=st.floats(1e-6, 0.2), classes=st.integers(2, 1000))
def test_the_largest_radius_is_finite(samples: int, level: float, classes: int) -> None:
    found = bounds.shares(np.array([samples]), np.array([0]), samples, classes, level)
    each = level / classes if classes > 2 else level
    assert found.top[0] == pytest.approx(each ** (1 / samples))
    assert math.isfinite(smoothing_radius(*found, 1.0, 1.0)[0])
    assert smoothing_radius(*bounds.shares(np.array([0]), np.array([0]), samples, classes, level), 1.0, 1.0)[0] == 0


@given(
    samples=st.integers(10, 2000), top=UNIT, second=UNIT, classes=st.integers(2, 100), alpha=st.floats(0.51, 1),
    level=st.floats(1e-6, 0.2),
)  # fmt: skip
def test_bounds_never_certify_more_than_the_plain_shares(
    samples: int, top: float, second: float, classes: int, alpha: float, level: float
) -> None:
    first = np.array([round(top * samples)])
    other = np.minimum(np.array([round(second * samples)]), samples - first)
    low, high = bounds.shares(first, other, samples, classes, level)
    assert low + high <= 1 + 1e-12
    plain = smoothing_radius(first / samples, other / samples, alpha, 1.0)
    assert smoothing_radius(low, high, alpha, 1.0) <= plain + 1e-12
    tighter = bounds.shares(first, other, samples, classes, level / 2)
    assert smoothing_radius(*tighter, alpha, 1.0) <= smoothing_radius(low, high, alpha, 1.0)


@pytest.mark.parametrize("shares", [(0.6, 0.3, 0.1), (0.45, 0.44, 0.06, 0.05), (0.7, 0.3), (0.97, 0.01, 0.01, 0.01)])
def test_bounds_hold_together_as_often_as_they_say(shares: tuple[float, ...]) -> None:
    """4,000 experiments at 90 %: true shares are outside in at most a tenth, up to three deviations of chance."""
    samples, level, runs = 200, 0.1, 4000
    counts = np.random.default_rng(0).multinomial(samples, shares, runs)
    found = bounds.shares(counts[:, 0], counts[:, 1:].max(1), samples, len(shares), level)
    wrong = (found.top > shares[0]) | (found.second < max(shares[1:]))
    assert wrong.mean() <= level + 3 * math.sqrt(level * (1 - level) / runs)
    assert wrong.mean() > 0  # bounds that are never wrong would be wider than they need be


def counted(counts: np.ndarray, samples: int, level: float) -> Counted:
    """Images whose class 0 was picked, by counts [N, K]; all labels are 0."""
    zeros = np.zeros(len(counts), np.int64)
    columns = {
        "image": np.arange(len(counts)),
        "label": zeros,
        "top": zeros,
        "votes": counts[:, 0],
        "second": counts[:, 1:].max(1),
    }
    return Counted(columns, Noise(0.5, 1, samples), counts.shape[1], level)


def holm(p: Floats, level: float) -> np.ndarray:
    """As the textbook has it."""
    order = np.argsort(p, kind="stable")
    passed = np.cumprod(p[order] <= level / (len(p) - np.arange(len(p)))).astype(bool)
    found = np.zeros(len(p), bool)
    found[order[passed]] = True
    return found


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1000),
    images=st.integers(1, 30),
    alpha=st.floats(0.55, 1),
    level=st.sampled_from([0.001, 0.05, 0.3]),
)
def test_claims_at_once_are_holms_over_binomial_tails(seed: int, images: int, alpha: float, level: float) -> None:
    """With two classes the hypothesis that an image's class falls within r is h_top <= Phi(r / sigma) / alpha."""
    samples, at = 300, np.array([0.01, 0.1, 0.2, 0.5])
    draw = np.random.default_rng(seed)
    top = draw.binomial(samples, draw.uniform(0.5, 1, images))
    known = counted(np.stack([top, samples - top], 1), samples, level)
    made = claims.all_at_once(lambda each: known.radii(each, alpha), level, at)
    for row, radius in zip(made, at, strict=True):
        share = np.minimum(needed(np.array([radius]), alpha, 0.5), 1)
        tails = np.asarray(binom.sf(top - 1, samples, share), np.float64)
        assert row.tolist() == holm(tails, level).tolist()


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), images=st.integers(1, 40), classes=st.integers(2, 10), alpha=st.floats(0, 0.99))
def test_curves_fall_and_claims_at_once_are_among_the_others(
    seed: int, images: int, classes: int, alpha: float
) -> None:
    draw = np.random.default_rng(seed)
    counts = np.array([draw.multinomial(500, draw.dirichlet([8, *[0.3] * (classes - 1)])) for _ in range(images)])
    known = counted(counts, 500, 0.01)
    curve: dict[tuple[float, str, str], list[float]] = {}
    for row in table(known, [alpha, 1.0]):
        curve.setdefault((row["alpha"], row["form"], row["claims"]), []).append(row["certified_accuracy"])
    for values in curve.values():
        assert np.all(np.diff(values) <= 0)
        assert values[-1] == 0
    for a in (alpha, 1.0):
        for form in FORMS:
            assert np.all(np.array(curve[a, form, "all"]) <= curve[a, form, "image"])
        for claimed in CLAIMS:
            assert np.all(np.array(curve[a, "lipschitz", claimed]) <= curve[a, "smoothing", claimed])
            assert np.all(np.array(curve[alpha, "smoothing", claimed]) <= curve[1.0, "smoothing", claimed])


def test_all_claims_hold_together_as_often_as_they_say() -> None:
    """Images just above nothing at all: the class of each falls within r = 0.1, so that every claim of it is wrong."""
    runs, level, samples, images, radius = 600, 0.2, 300, 20, 0.1
    share = float(needed(np.array([radius]), 1.0, 0.5)[0]) - 1e-9
    draw = np.random.default_rng(1)
    wrong = dict.fromkeys(CLAIMS, 0)
    for _ in range(runs):
        top = draw.binomial(samples, share, images)
        known = counted(np.stack([top, samples - top], 1), samples, level)
        for claimed in CLAIMS:
            wrong[claimed] += known.curve(1.0, "smoothing", claimed, np.array([radius]))[0] > 0
    assert wrong["all"] / runs <= level + 3 * math.sqrt(level * (1 - level) / runs)
    assert wrong["image"] / runs > 0.9  # one in five of twenty images: hardly a run without a wrong claim


def test_radii_of_a_curve_are_fractions_of_sigma() -> None:
    at = counted(np.array([[500, 0]]), 500, 0.001).at([1.0])
    assert np.diff(at) == pytest.approx(0.5 / STEPS)
    assert at[0] == 0
