"""Intervals of shares, means and differences: published examples, closed forms at the ends, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from robustray.measures import intervals

Z = float(stats.norm.ppf(0.975))


@given(n=st.integers(1, 100_000))
def test_of_none_and_of_all(n: int) -> None:
    """(0, z^2 / (n + z^2)) of none in n, and mirrored of all: never a point, however sure it looks."""
    assert intervals.share(0, n) == pytest.approx((0, Z**2 / (n + Z**2)))
    assert intervals.share(n, n) == pytest.approx((n / (n + Z**2), 1))


@given(n=st.integers(1, 1000), data=st.data())
def test_a_share_lies_inside_and_solves_the_score_equation(n: int, data: st.DataObject) -> None:
    """Both ends are a probability q with (k/n - q)^2 = z^2 q (1 - q) / n; of failures the interval is mirrored."""
    k = data.draw(st.integers(0, n))
    low, high = intervals.share(k, n)
    assert 0 <= low <= k / n <= high <= 1
    for q in (low, high):
        assert (k / n - q) ** 2 == pytest.approx(Z**2 * q * (1 - q) / n, abs=1e-9)
    assert intervals.share(n - k, n) == pytest.approx((1 - high, 1 - low))


def test_nothing_is_known_of_no_draws() -> None:
    assert intervals.share(0, 0) == (0, 1)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_a_share_is_covered_as_often_as_said(p: float) -> None:
    n = 200
    k = np.arange(n + 1)
    inside = np.array([low <= p <= high for low, high in (intervals.share(each, n) for each in k.tolist())])
    assert stats.binom.pmf(k, n, p) @ inside == pytest.approx(0.95, abs=0.02)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30))
def test_a_mean_is_students(values: list[float]) -> None:
    low, high = intervals.mean(values)
    assert low is not None
    assert high is not None
    assert low <= np.mean(values) + 1e-9
    spread = stats.sem(values)
    if spread > 1e-6:
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), spread)
        assert (low, high) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_a_mean_of_too_little_has_none(values: list[float]) -> None:
    assert intervals.mean(values) == (None, None)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
    ],
)
def test_newcombes_own_examples(a: tuple[int, int], b: tuple[int, int], expected: tuple[float, float]) -> None:
    """Table II of Newcombe (Statistics in Medicine 17, 1998), method 10."""
    each = [(k / n, *intervals.share(k, n)) for k, n in (a, b)]
    assert intervals.apart(*each) == pytest.approx(expected, abs=6e-5)


@given(n=st.integers(1, 500), k=st.integers(0, 500), other=st.integers(0, 500))
def test_a_difference_is_mirrored_and_of_equals_it_is_around_nothing(n: int, k: int, other: int) -> None:
    a, b = ((min(each, n) / n, *intervals.share(min(each, n), n)) for each in (k, other))
    low, high = intervals.apart(a, b)
    assert -1 - 1e-9 <= low <= a[0] - b[0] <= high <= 1 + 1e-9
    assert intervals.apart(b, a) == pytest.approx((-high, -low))
    same = intervals.apart(a, a)
    assert same[0] == pytest.approx(-same[1])
    assert same[0] < 0 < same[1]
