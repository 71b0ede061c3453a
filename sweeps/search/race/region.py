"""Where gains count: the limits of a search, in the units of its model."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy

import numpy as np
from numpy.typing import NDArray

from sweeps.search.field import Field

Array = NDArray[np.float64]


class Region:
    """Limits of objectives, better when larger, in units of their scales.

    Attributes:
        scales: [m]. floor: [m] no gain below, -inf for none. ceiling: [m] not allowed above, inf for none.
        limits: by metric that is no objective, the smallest and the largest value.
    """

    def __init__(self, field: Field, scales: Array) -> None:
        """Reads a field's limits."""
        self.scales = scales
        self.floor, self.ceiling = np.full(len(scales), -np.inf), np.full(len(scales), np.inf)
        self.limits: dict[str, tuple[float, float]] = {}
        names = list(field.objectives)
        for name, ends in field.limits.items():
            low = -math.inf if ends.min is None else ends.min
            high = math.inf if ends.max is None else ends.max
            if name not in field.objectives:
                self.limits[name] = low, high
                continue
            if field.objectives[name] != "max":
                low, high = -high, -low
            place = names.index(name)
            self.floor[place], self.ceiling[place] = low / scales[place], high / scales[place]

    def seen_by(self, place: Callable[[Array], Array]) -> Region:
        """The same, with limits of objectives where a model sees them."""
        found = copy(self)
        found.floor, found.ceiling = place(self.floor), place(self.ceiling)
        return found

    def allowed(self, values: Array) -> NDArray[np.bool_]:
        """[k] whether values [k, m] stay below the ceiling."""
        return np.asarray((values <= self.ceiling).all(axis=1), dtype=np.bool_)

    def chance(self, mean: Array, variance: Array) -> Array:
        """[k] that values ~ N(mean, diag(variance)) do."""
        if np.isinf(self.ceiling).all():
            return np.ones(len(mean))
        found: Array = between(mean, variance, -math.inf, self.ceiling).prod(1)
        return found


def between(mean: Array, variance: Array, low: float | Array, high: float | Array) -> Array:
    """P(low <= Y <= high) of Y ~ N(mean, variance)."""
    from scipy.special import ndtr

    spread = np.sqrt(np.maximum(variance, 1e-18))
    found: Array = ndtr((high - mean) / spread) - ndtr((low - mean) / spread)
    return found
