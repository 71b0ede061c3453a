"""Rules that pick a point, against closed forms and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.deciding.rules import achievement, attained, knee
from analysis.pareto import nondominated

POINTS = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 3)), elements=st.floats(0, 1, width=16))


def test_the_knee_is_the_distance_from_the_chord() -> None:
    points = np.array([[0.0, 1.0], [0.8, 0.9], [1.0, 0.0]])
    chord = points[2] - points[0]
    away = points[1] - points[0]
    expected = abs(chord[0] * away[1] - chord[1] * away[0]) / np.linalg.norm(chord)
    np.testing.assert_allclose(knee(points), [0, expected, 0], atol=1e-12)


@settings(max_examples=20)
@given(POINTS, st.floats(0.1, 100), st.floats(-5, 5))
def test_units_do_not_move_the_knee(points: np.ndarray, scale: float, shift: float) -> None:
    np.testing.assert_allclose(knee(points), knee(scale * points + shift), atol=1e-6)


@settings(max_examples=20)
@given(POINTS, st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_the_best_for_a_reference_is_dominated_by_nobody(points: np.ndarray, reference: list[float]) -> None:
    best = achievement(points, reference[: points.shape[1]])
    assert nondominated(points)[np.isclose(best, best.max(), atol=1e-12)].any()


def test_a_reference_is_judged_by_the_objective_that_falls_behind_most() -> None:
    points = np.array([[0.9, 0.4], [0.8, 0.5]])
    np.testing.assert_allclose(achievement(points, [0.9, 0.45]), [-0.5, -1], atol=1e-3)
    assert achievement(np.array([[0.9, 0.4]]), [0.9, 0.4]) == pytest.approx(0)


def test_what_a_point_alone_attains_is_a_product_of_gains() -> None:
    np.testing.assert_allclose(attained([[0.9, 0.5], [0.8, 0.6], [0.2, -3]], [0.0, -1.0]), [0.9 * 1.5, 0.8 * 1.6, 0])
