"""Indicators and their tests, in closed form and by what they promise."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.frontiers import indicators
from analysis.frontiers.indicators import Resampled, best_of, by_images, by_seeds, epsilon, hypervolume, resampled
from analysis.pareto import nondominated

POINTS = arrays(np.float64, st.tuples(st.integers(1, 5), st.just(2)), elements=st.floats(0, 1, width=16))


def test_hypervolume_is_the_area_under_the_staircase() -> None:
    assert hypervolume([[0.9, 0.4], [0.8, 0.6]]) == pytest.approx(0.8 * 0.6 + 0.1 * 0.4)


@settings(max_examples=25)
@given(POINTS, POINTS)
def test_epsilon_is_its_definition(a: np.ndarray, b: np.ndarray) -> None:
    expected = max(min(max(r - p) for p in a) for r in b)
    assert epsilon(a, b) == pytest.approx(expected)
    best = best_of([a, b])
    assert nondominated(best).all()
    assert min(epsilon(a, best), epsilon(b, best)) >= -1e-12, "nobody is better than the best of all"
    assert epsilon(best, a) <= 1e-12


def test_seeds_are_permuted_exactly() -> None:
    a, b = [0.9, 0.91, 0.92, 0.93], [0.1, 0.11, 0.12, 0.13]
    found = by_seeds(a, b)
    assert found.value == pytest.approx(0.8)
    assert found.p == pytest.approx(2 / comb(8, 4)) == indicators.smallest_p(4, 4)
    assert found.how == "permutation of 4 + 4 searches"
    assert by_seeds(b, a).p == pytest.approx(found.p)
    assert by_seeds(a, a).p == 1


def test_the_interval_of_images_takes_the_bias_off_again() -> None:
    """The largest of many equal models looks better than one of them, and the basic interval leans back by as much."""
    generator = np.random.default_rng(0)
    many, one = (generator.random((k, 2, 200)) < 0.5 for k in (12, 1))
    found = [resampled(each.astype(float), hypervolume, resamples=200) for each in (many, one)]
    test = by_images([found[0]], [found[1]], images=200, shared=True)
    boot = found[0].boot - found[1].boot
    assert boot.mean() > test.value > 0
    assert (test.low + test.high) / 2 < test.value
    assert 0 < test.p <= 1


def test_equals_are_not_told_apart_and_shared_images_cancel() -> None:
    verdicts = (np.random.default_rng(1).random((3, 2, 100)) < 0.6).astype(float)
    same = resampled(verdicts, hypervolume, resamples=50)
    found = by_images([same], [same], images=100, shared=True)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    better = Resampled(same.value + 0.1, same.boot + 0.1)
    apart = by_images([better], [same], images=100, shared=True)
    assert apart.low == pytest.approx(0.1)
    assert apart.p == pytest.approx(2 / 51)
