"""Probabilities of being non-dominated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from sweeps.chances import nondominated, normal, of_images, of_seeds
from sweeps.frontier import undominated

B = 8000
CLOSE = 4 * 0.5 / np.sqrt(B)


@pytest.mark.parametrize("gap", [0.0, 0.3, 1.0])
def test_two_points_in_one_objective(gap: float) -> None:
    """The better of two stands with probability Phi(gap / sqrt(s1^2 + s2^2)): one half where they are the same."""
    first, second = 0.6, 0.8
    found = nondominated(normal([[0.0], [gap]], [[[first**2]], [[second**2]]], draws=B))
    expected = norm.cdf(gap / np.hypot(first, second))
    np.testing.assert_allclose(found, [expected, 1 - expected], atol=CLOSE)


@pytest.mark.parametrize(("correlation", "expected"), [(0.0, 3 / 4), (1.0, 1 / 2), (0.5, 2 / 3)])
def test_the_same_point_twice_in_two_objectives(correlation: float, expected: float) -> None:
    """Dominated where both differences are of one sign: a quarter and asin(r) / 2 pi (Sheppard)."""
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])
    np.testing.assert_allclose(nondominated(normal(np.zeros((2, 2)), covariance, draws=B)), expected, atol=CLOSE)


def test_two_accuracies_as_normal_theory_has_it() -> None:
    p = np.array([[0.80, 0.50], [0.82, 0.51]])
    variance = of_images(p, 1000)
    found = nondominated(-normal(p, np.stack([np.diag(each) for each in variance]), draws=B))
    gain = multivariate_normal(p[1] - p[0], np.diag(variance.sum(axis=0)))
    np.testing.assert_allclose(found[0], 1 - gain.cdf([np.inf, np.inf], lower_limit=[0, 0]), atol=CLOSE)


def test_without_noise_it_is_the_frontier_and_equals_stand() -> None:
    points = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert nondominated(normal(points, np.zeros((2, 2)), draws=3)).tolist() == [1.0, 1.0, 0.0, 1.0]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_point_gets_the_same_whoever_stands_behind_it(seed: int) -> None:
    values = np.random.default_rng(seed).random((4, 2))
    all_of_them = normal(values, np.eye(2), draws=5, seed=seed)
    np.testing.assert_array_equal(normal(values[:2], np.eye(2), draws=5, seed=seed), all_of_them[:, :2])


def test_the_spread_of_seeds_is_pooled_and_unknown_without_any() -> None:
    """Two seeds at +-1 and three at -3, 0, 3 give (2 + 18) / (1 + 2)."""
    found = of_seeds([np.array([[1.0], [-1.0]]), np.array([[7.0], [10.0], [13.0]]), np.array([[5.0]])])
    assert found is not None
    assert found == pytest.approx(20 / 3)
    assert of_seeds([np.zeros((1, 2))]) is None


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=5, max_size=5), min_size=1, max_size=4)
)
def test_all_draws_at_once_say_what_each_says_alone(draws: list[list[tuple[int, int]]]) -> None:
    """Ties in one objective, in both, and whole rows that are equal."""
    array = np.array(draws, dtype=float)
    assert nondominated(array).tolist() == np.mean([undominated(each) for each in array], axis=0).tolist()
    assert nondominated(array[:, :0]).tolist() == []
