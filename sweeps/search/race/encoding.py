"""Settings as numbers: what a model sees of them, and how new ones are drawn beside old ones, many at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sweeps.space.distributions import Distribution, Parameter, Scalar

Array = NDArray[np.float64]
Ask = Callable[[Callable[[Parameter], object]], Mapping[str, object]]
"""Draws one setting, define-by-run: `Sweep.ask`."""
_LISTED = (
    32  # up to so many numbers are values side by side, more are a range: a step to the neighbour would be no change
)


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


class Encoding:
    """All parameters of a space. A setting is a row of coordinates, nan where a parameter is not active."""

    def __init__(self, space: Sequence[Parameter], ask: Ask) -> None:
        """Args: space: its parameters. ask: draws one setting, given a value for each parameter that it asks for."""
        self.axes = [Axis(parameter) for parameter in space]
        self._ask = ask
        self._places = {axis.parameter.name: place for place, axis in enumerate(self.axes)}

    @cached_property
    def width(self) -> int:
        """How many inputs a model of the settings has."""
        return sum(axis.width for axis in self.axes)

    def coordinates(self, params: Mapping[str, object]) -> Array:
        """[parameters] of one setting."""
        names = (axis.parameter.name for axis in self.axes)
        found = [
            axis.coordinate(params[name]) if name in params else math.nan
            for axis, name in zip(self.axes, names, strict=True)
        ]
        return np.array(found, dtype=float)

    def params(self, row: Array) -> dict[str, object]:
        """The setting with these coordinates, as a trial has it."""
        return dict(self._ask(lambda parameter: self._value(parameter.name, row)))

    def inputs(self, rows: Array) -> Array:
        """[n, width] what a model sees of rows of coordinates."""
        columns = [axis.inputs(rows[:, place]) for place, axis in enumerate(self.axes)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(rows), 0))

    def random(self, rng: np.random.Generator, n: int) -> Array:
        """n settings drawn at random."""
        drawn = np.empty((n, len(self.axes)))
        for place, axis in enumerate(self.axes):
            drawn[:, place] = axis.random(rng, n)
        return self._active(drawn)

    def mutated(self, rng: np.random.Generator, rows: Array, *, chance: float, step: float) -> Array:
        """A neighbour of each row: each active parameter is moved with a chance, one of them always."""
        n, wide = rows.shape
        if not wide:
            return rows
        active = ~np.isnan(rows)
        moves = (rng.random(rows.shape) < chance) & active
        moves[np.arange(n), np.where(active, rng.random(rows.shape), -1.0).argmax(1)] = True
        found = np.where(active, rows, self._drawn(rng, n))  # what a move makes active is drawn
        for place, axis in enumerate(self.axes):
            moved = axis.moved(rng, found[:, place], step)
            found[:, place] = np.where(moves[:, place], moved, found[:, place])
        return self._active(found)

    @staticmethod
    def keys(rows: Array) -> list[bytes]:
        """Of each row: equal for equal settings."""
        rounded = np.round(np.where(np.isnan(rows), -1.0, rows), 9) + 0.0
        return [row.tobytes() for row in rounded]

    def _drawn(self, rng: np.random.Generator, n: int) -> Array:
        return np.stack([axis.random(rng, n) for axis in self.axes], axis=1)

    def _value(self, name: str, row: Array) -> Scalar:
        place = self._places[name]
        coordinate = float(row[place])
        return self.axes[place].value(0.5 if math.isnan(coordinate) and self.axes[place].values is None else coordinate)

    def _active(self, rows: Array) -> Array:
        for parents, place in self._conditions:
            for parent, index in parents:
                rows[:, place] = np.where(rows[:, parent] == index, rows[:, place], math.nan)
        return rows

    @cached_property
    def _conditions(self) -> list[tuple[list[tuple[int, int]], int]]:
        """Of each parameter below choices: their places and the index of the label that each must have."""
        found = []
        for axis in sorted(self.axes, key=lambda axis: len(axis.parameter.condition)):
            parents = []
            for name, label in axis.parameter.condition:
                place = self._places[name]
                parents.append((place, self.axes[place].distribution.choices.index(label)))
            if parents:
                found.append((parents, self._places[axis.parameter.name]))
        return found


def _rises(values: Sequence[Scalar]) -> bool:
    """Whether the values of a choice are numbers, each larger than the one before."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return len(numbers) == len(values) and all(a < b for a, b in pairwise(numbers))
