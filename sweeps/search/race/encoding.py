"""Settings as numbers: what a model sees of them, and how new ones are drawn beside old ones, many at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sweeps.search.race.axis import Axis
from sweeps.space.distributions import Parameter, Scalar

Array = NDArray[np.float64]
Ask = Callable[[Callable[[Parameter], object]], Mapping[str, object]]
"""Draws one setting, define-by-run: `Sweep.ask`."""


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

    def plain(self, row: Array) -> dict[str, object]:
        """The same without asking the space, which takes longer."""
        known = ~np.isnan(row)
        return {axis.parameter.name: axis.value(float(row[at])) for at, axis in enumerate(self.axes) if known[at]}

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

    def snapped(self, rows: Array) -> Array:
        """The settings that can be had, for rows that were made elsewhere: all can."""
        return rows

    @staticmethod
    def keys(rows: Array) -> list[bytes]:
        """Of each row: equal for equal settings."""
        rounded = np.round(np.where(np.isnan(rows), -1.0, rows), 9) + 0.0
        if not rounded.size:
            return [b""] * len(rounded)
        one = np.dtype((np.void, rounded.itemsize * rounded.shape[1]))
        found: list[bytes] = np.ascontiguousarray(rounded).view(one)[:, 0].tolist()
        return found

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
