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
        over = column[~below] - median
        scale = np.sqrt(np.mean(over**2)) or np.std(column)  # where all of the upper half are equal
        column[below] = median + scale * ndtri((_ranks(column)[below] + 0.5) / len(column))
    return warped


def _ranks(column: Array) -> Array:
    """From 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
    first = np.cumsum(counts) - counts
    found: Array = (first + (counts - 1) / 2)[inverse]
    return found
