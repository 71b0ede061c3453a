"""A space of which only some settings can be had: whatever a search draws becomes the nearest of those that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweeps.search.race.encoding import Ask, Encoding
from sweeps.space.distributions import Parameter

Array = NDArray[np.float64]
Params = Mapping[str, object]


class Listed(Encoding):
    """Settings as the race sees them, and as near to each other as its inputs are: numbers on the scale of their distribution
    from 0 to 1, choices 0 or 1.

    Attributes:
        settings: those there are, by place.
        left: [settings] which may still be drawn.
    """

    def __init__(self, space: Sequence[Parameter], ask: Ask, settings: Sequence[Params]) -> None:
        """Args: as `Encoding` has them. settings: every value of the options that each has."""
        super().__init__(space, ask)
        self.settings = tuple(dict(params) for params in settings)
        self.left = np.ones(len(self.settings), dtype=np.bool_)
        self._rows = np.array([self.coordinates(params) for params in self.settings]).reshape(-1, len(self.axes))
        self._points = self.inputs(self._rows).astype(np.float32)  # of many settings the distances are most of the work
        self._squares = (self._points**2).sum(1)
        self._by_name = {frozenset(params.items()): place for place, params in enumerate(self.settings)}
        self._by_key = {key: place for place, key in enumerate(self.keys(self._rows))}

    def place(self, params: Params) -> int:
        """Where exactly these values stand in the list.

        Raises:
            KeyError: nowhere.
        """
        return self._by_name[frozenset(params.items())]

    def take(self, place: int) -> None:
        """This one may not be drawn any more."""
        self.left[place] = False

    def nearest(self, params: Params) -> int:
        """The place of the setting that is left and nearest to these values; of several, the first.

        Raises:
            ValueError: none is left.
        """
        if not self.left.any():
            raise ValueError("no setting is left")
        return int(self._nearest(self.coordinates(params)[None])[0])

    def random(self, rng: np.random.Generator, n: int) -> Array:
        """n settings drawn at random, some of them more than once."""
        return self.snapped(super().random(rng, n))

    def mutated(self, rng: np.random.Generator, rows: Array, *, chance: float, step: float) -> Array:
        """The nearest that is left to a neighbour of each row."""
        return self.snapped(super().mutated(rng, rows, chance=chance, step=step))

    def params(self, row: Array) -> dict[str, object]:
        """The setting with these coordinates, as the list has it."""
        place = self._by_key.get(self.keys(row[None])[0])
        return super().params(row) if place is None else dict(self.settings[place])

    def snapped(self, rows: Array) -> Array:
        """The nearest setting that is left to each row; the rows themselves where none is."""
        return self._rows[self._nearest(rows)] if self.left.any() else rows

    def _nearest(self, rows: Array) -> NDArray[np.intp]:
        away = self._squares - 2 * (self.inputs(rows).astype(np.float32) @ self._points.T)
        away[:, ~self.left] = np.inf
        found: NDArray[np.intp] = away.argmin(1)
        return found
