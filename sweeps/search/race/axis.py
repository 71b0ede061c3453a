"""One parameter as a number: its place on its range, or the index of its value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sweeps.space.distributions import Distribution, Parameter, Scalar

Array = NDArray[np.float64]
_LISTED = 32
"""Up to so many numbers are values side by side, more are a range: a step to the neighbour would be no change."""


class Axis:
    """One parameter. Its coordinate is the place on its range in [0, 1], or the index of its value where those are listed.

    Attributes:
        values: as a trial has them; None for a range.
        positions: of the values in [0, 1]; None for a range.
        ordered: whether neighbours among the values are alike.
    """

    def __init__(self, parameter: Parameter) -> None:
        """Reads the distribution."""
        self.parameter = parameter
        self.distribution: Distribution = parameter.distribution
        self.values: tuple[Scalar, ...] | None = None
        self.positions: Array | None = None
        self._log = self.distribution.kind in ("loguniform", "logint")
        count = self.distribution.count
        if self.distribution.kind == "choice":
            self.values, self.ordered = self.distribution.choices, _rises(self.distribution.choices)
            self.positions = np.linspace(0, 1, len(self.values)) if len(self.values) > 1 else np.zeros(1)
        elif count <= _LISTED:
            self.values, self.ordered = tuple(self.distribution.nth(index) for index in range(int(count))), True
            self.positions = np.array([self._place(value) for value in self.values])
        else:
            self.ordered = True

    @property
    def width(self) -> int:
        """How many inputs of a model: one, or one for each of more than two values without an order."""
        return 1 if self.ordered or self.values is None or len(self.values) <= 2 else len(self.values)

    def coordinate(self, value: object) -> float:
        """Of a value; nan where it is none of this parameter's, as a point picked by hand may be."""
        if self.positions is not None and self.distribution.kind != "choice":  # the nearest: 0.3 is not 3 * 0.1
            place = self._place(value)
            return place if math.isnan(place) else float(np.abs(self.positions - place).argmin())
        if self.values is not None:
            known = [index for index, each in enumerate(self.values) if each == value and type(each) is type(value)]
            known += [index for index, each in enumerate(self.values) if each == value]
            return float(known[0]) if known else math.nan
        return self._place(value)

    def value(self, coordinate: float) -> Scalar:
        """At a coordinate."""
        if self.values is not None:
            return self.values[int(coordinate)]
        low, high = self.distribution.low, self.distribution.high
        found = low * (high / low) ** coordinate if self._log else low + coordinate * (high - low)
        if step := self._step:
            found = low + round((found - low) / step) * step
        found = min(max(found, low), high)
        return int(found) if self.distribution.is_int else float(found)

    def inputs(self, coordinates: Array) -> Array:
        """[n, width] of coordinates [n]; a parameter that is not active lies in the middle."""
        active = ~np.isnan(coordinates)
        if self.width > 1:
            one_hot = np.full((len(coordinates), self.width), 0.5)
            one_hot[active] = np.eye(self.width)[coordinates[active].astype(int)]
            return one_hot
        found = np.full((len(coordinates), 1), 0.5)
        known = coordinates[active]
        found[active, 0] = known if self.positions is None else self.positions[known.astype(int)]
        return found

    def random(self, rng: np.random.Generator, n: int) -> Array:
        """[n] coordinates, each value as likely as every other."""
        if self.values is not None:
            return rng.integers(len(self.values), size=n).astype(float)
        return self._snapped(rng.random(n))

    def moved(self, rng: np.random.Generator, coordinates: Array, step: float) -> Array:
        """Neighbours of [n] coordinates: a normal step on a range, the next value or the one before, any other of no order."""
        n = len(coordinates)
        if self.values is None:
            return self._snapped(np.clip(coordinates + step * rng.standard_normal(n), 0, 1))
        last = len(self.values) - 1
        if not self.ordered or last == 1:
            return np.where(last > 0, (coordinates + rng.integers(1, max(last, 1) + 1, size=n)) % (last + 1), 0)
        there = coordinates + rng.choice([-1.0, 1.0], size=n)
        return np.where(there < 0, min(1, last), np.where(there > last, max(last - 1, 0), there))

    @property
    def _step(self) -> float:
        return self.distribution.step or (1 if self.distribution.is_int else 0)

    def _place(self, value: object) -> float:
        if not isinstance(value, int | float):
            return math.nan
        low, high = self.distribution.low, self.distribution.high
        inside = min(max(value, low), high)
        return math.log(inside / low) / math.log(high / low) if self._log else (inside - low) / (high - low)

    def _snapped(self, places: Array) -> Array:
        """Of a range of whole numbers or steps, the places that there are: two settings are equal or not."""
        if not self._step:
            return places
        return np.array([self._place(self.value(place)) for place in places.tolist()])


def _rises(values: Sequence[Scalar]) -> bool:
    """Whether the values of a choice are numbers, each larger than the one before."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and all(a < b for a, b in pairwise(numbers))
