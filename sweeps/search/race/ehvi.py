"""What a trial is expected to add to the frontier. All values are better when larger."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from robustray.seeding import derive
from sweeps.frontier import undominated

Array = NDArray[np.float64]
MARGIN = 0.1
"""Share of the frontier's range by which the reference lies below it."""
_NARROWEST = 0.05  # range of a frontier
_DIRECTIONS, _DRAWS = 64, 32


def reference(points: Array, floor: Array) -> Array:
    """[m] from where gains count: the smallest values on the frontier of [n, m], less a tenth of its range, which is taken to
    be 0.05 at least; and no lower than a floor [m], -inf for none.
    """
    front = points[undominated(-points)]
    if not len(front):
        return np.where(np.isfinite(floor), floor, 0.0)
    low = front.min(0)
    below: Array = low - MARGIN * np.maximum(front.max(0) - low, _NARROWEST)
    return np.maximum(below, floor)


def gain(mean: Array, variance: Array, points: Array, lowest: Array) -> Array:
    """[k] expected improvement of the hypervolume of `points` by values ~ N(mean, diag(variance)).

    One objective: expected improvement (Jones et al., 1998). Two: closed form (Emmerich et al., 2005, in strips). More: the
    mean over 64 fixed directions w of the expected gain of min_j max(y_j - ref_j, 0)^m / w_j^m, of which the hypervolume is a
    multiple (Zhang and Golovin, ICML 2020), over 32 fixed draws.

    Args:
        mean, variance: [k, m]. points: [n, m]. lowest: [m] the reference.
    """
    spread = np.sqrt(np.maximum(variance, 1e-18))
    above = points[(points > lowest).all(1)]
    match mean.shape[1]:
        case 1:
            best = max(above.max(initial=-np.inf), lowest[0])
            return excess(mean[:, 0], spread[:, 0], best)
        case 2:
            return _strips(mean, spread, above, lowest)
        case _:
            return _directions(mean, spread, above, lowest)


def gained(values: Array, points: Array, lowest: Array) -> Array:
    """[k] the same of values [k, m] that are certain."""
    return gain(values, np.zeros_like(values), points, lowest)


def excess(mean: Array, spread: Array, over: Array | float) -> Array:
    """E max(Y - over, 0) = s (z Phi(z) + phi(z)), z = (mean - over) / s, of Y ~ N(mean, s^2); 0 above infinity."""
    from scipy.special import ndtr

    z = (mean - over) / spread
    with np.errstate(invalid="ignore", under="ignore"):
        found: Array = spread * (z * ndtr(z) + np.exp(-z * z / 2) / np.sqrt(2 * np.pi))
    return np.where(np.isneginf(z), 0.0, np.maximum(found, 0.0))


def _strips(mean: Array, spread: Array, points: Array, lowest: Array) -> Array:
    """Sum over strips a_i < y_1 < a_(i+1), which the frontier fills up to h_i, of (psi_1(a_i) - psi_1(a_(i+1))) psi_2(h_i),
    psi_j(t) = E max(Y_j - t, 0).
    """
    front = points[undominated(-points)]
    front = front[np.unique(front[:, 0], return_index=True)[1]]  # rising in one value, falling in the other
    left = np.concatenate([[lowest[0]], front[:, 0], [np.inf]])
    height = np.concatenate([front[:, 1], [lowest[1]]])
    across = excess(mean[:, :1], spread[:, :1], left)
    found: Array = ((across[:, :-1] - across[:, 1:]) * excess(mean[:, 1:], spread[:, 1:], height)).sum(1)
    return np.maximum(found, 0.0)


def _directions(mean: Array, spread: Array, points: Array, lowest: Array) -> Array:
    m = mean.shape[1]
    directions, draws = _fixed(m)
    best = _scalarised(points, lowest, directions).max(0, initial=0.0)
    found = np.zeros(len(mean))
    for draw in draws:
        found += np.maximum(_scalarised(mean + spread * draw, lowest, directions) - best, 0).mean(1)
    return found / len(draws)


def _scalarised(values: Array, lowest: Array, directions: Array) -> Array:
    """[k, directions] min_j max(y_j - ref_j, 0)^m / w_j^m."""
    over = np.maximum(values - lowest, 0)
    least = over[:, :1] / directions[:, 0]
    for place in range(1, values.shape[1]):
        np.minimum(least, over[:, place : place + 1] / directions[:, place], out=least)
    found: Array = least ** values.shape[1]
    return found


@cache
def _fixed(m: int) -> tuple[Array, Array]:
    """Directions [64, m] of the positive unit sphere, and standard normal draws [32, m] in pairs of opposites."""
    rng = np.random.default_rng(derive("race", "directions", m))
    directions = np.abs(rng.standard_normal((_DIRECTIONS, m)))
    half = rng.standard_normal((_DRAWS // 2, m))
    return np.maximum(directions / np.linalg.norm(directions, axis=1, keepdims=True), 1e-3), np.concatenate(
        [half, -half]
    )
