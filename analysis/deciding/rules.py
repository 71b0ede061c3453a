"""Rules that pick one point of a frontier, pure functions of its values, and what each of them goes by in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
By = Literal["balanced", "robust", "clean", "knee", "reference", "cheapest"]
RULES: tuple[By, ...] = get_args(By)
_WEIGHT = 1e-4
"""Of the sum beside the minimum: of two points with one smallest surplus the one that is better elsewhere is taken."""
SAID: Mapping[By, str] = {
    "balanced": "the balanced one, which alone dominates most",
    "robust": "the highest robust accuracy",
    "clean": "the highest clean accuracy",
    "knee": "the knee, farthest from the line between the ends",
    "reference": "nearest to the reference point, or farthest beyond it",
    "cheapest": "the least device time to train",
}


def attained(values: ArrayLike, worst: Sequence[float]) -> Floats:
    """What each point alone dominates: prod_i (y_i - w_i), for two accuracies clean times robust.

    At its maximum a step along the frontier loses a larger share of one objective than it gains of the other (Nash, The
    Bargaining Problem, Econometrica 1950). It does not move when an end of the frontier is added that nobody would use.

    Args:
        values: [n, m], all better when larger.
        worst: [m], what gains are counted from.

    Returns:
        [n], at least 0.
    """
    return np.asarray(np.maximum(np.asarray(values, dtype=float) - np.asarray(worst, dtype=float), 0).prod(axis=1))


def knee(values: ArrayLike) -> Floats:
    """How far each point lies beyond the line between the ends of the frontier: the largest is the knee.

    With objectives scaled to z in [0, 1] over the points, the distance from the plane through the ends of all axes is
    (sum_i z_i - 1) / sqrt(m); for two objectives the distance from the chord between the ends (Das, On characterizing the
    "knee" of the Pareto curve based on normal-boundary intersection, Structural Optimization 1999).

    Args:
        values: [n, m], all better when larger.

    Returns:
        [n]; 0 for the ends themselves, below it where the frontier is bent inwards.
    """
    scaled = _scaled(np.asarray(values, dtype=float))
    return np.asarray((scaled.sum(axis=1) - 1) / np.sqrt(scaled.shape[1]))


def achievement(values: ArrayLike, reference: Sequence[float]) -> Floats:
    """How far each point lies beyond a point that somebody would like to have, by the objective it falls behind in most.

    min_i (y_i - r_i) / s_i + 1e-4 sum_i (y_i - r_i) / s_i, the achievement function of Wierzbicki (The use of reference
    objectives in multiobjective optimization, 1980), with s_i the range of the points. Its largest value is at a point that
    no other dominates, wherever the reference lies.

    Args:
        values: [n, m], all better when larger.
        reference: [m].

    Returns:
        [n], at least 0 (but for the small sum) where a point is as good as the reference in everything.
    """
    given = np.asarray(values, dtype=float)
    surplus = (given - np.asarray(reference, dtype=float)) / _ranges(given)
    return np.asarray(surplus.min(axis=1) + _WEIGHT * surplus.sum(axis=1))


def _scaled(values: Floats) -> Floats:
    return np.asarray((values - values.min(axis=0)) / _ranges(values))


def _ranges(values: Floats) -> Floats:
    """[m] by objective; 1 where all points are alike in it."""
    span = np.ptp(values, axis=0)
    return np.where(span > 0, span, 1.0)
