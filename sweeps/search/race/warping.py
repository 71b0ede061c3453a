"""Values for a model to see: where a setting is bad, it need not know how bad."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEWEST = 6
"""Values below which nothing is changed: a median of fewer says little."""


def half_rank(values: Array) -> Array:
    """Half-rank warping (Song et al., "The Vizier Gaussian Process Bandit Algorithm", 2024), per column.

    Values from the median up stay. Those below become median + s * Phi^-1((rank + 1/2) / n), with s the root mean square of
    (value - median) over the upper half and rank from 0 (equal values share the mean of theirs), so that failures cost a model
    no resolution among what is good.

    Args:
        values: [n, m], better when larger.

    Returns:
        [n, m]; unchanged for fewer than `FEWEST` rows.
    """
    from scipy.special import ndtri

    if len(values) < FEWEST:
        return values
    warped = values.copy()
    for column in warped.T:
        median = np.median(column)
        below = column < median
        # Those below rank among themselves as they do among all.
        column[below] = median + _scale(column, median) * ndtri((_ranks(column[below]) + 0.5) / len(column))
    return warped


def where(limits: Array, values: Array) -> Array:
    """Where limits lie among values that were warped: on the same side of each.

    A limit below the median, with k values below it, becomes median + s * Phi^-1(k / n); with none below, a quarter for k.

    Args:
        limits: [m], infinite for none. values: [n, m] as measured.

    Returns:
        [m]
    """
    from scipy.special import ndtri

    if len(values) < FEWEST:
        return limits
    found = limits.copy()
    for place, (limit, column) in enumerate(zip(limits, values.T, strict=True)):
        median = np.median(column)
        if np.isfinite(limit) and limit < median:
            below = max(float((column < limit).sum()), 0.25)
            found[place] = median + _scale(column, median) * ndtri(below / len(column))
    return found


def _scale(column: Array, median: np.floating) -> float:
    """The root mean square over the upper half; the standard deviation where all of that are equal."""
    return float(np.sqrt(np.mean((column[column >= median] - median) ** 2)) or np.std(column))


def _ranks(column: Array) -> Array:
    """From 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    found: Array = (first + (counts - 1) / 2)[inverse]
    return found
