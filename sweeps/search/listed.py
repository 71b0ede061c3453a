"""A space of which only some settings can be had: whatever a search draws becomes the nearest of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweeps.space.distributions import Distribution, Parameter

Params = Mapping[str, object]


class Listed:
    """Settings as points: numbers on the scale of their distribution from 0 to 1, choices as they are.

    Two settings are as far apart as the root of the sum of squares over options says: their distance where both have a number,
    1 where they chose differently or where only one of them has the option.
    """

    def __init__(self, space: Sequence[Parameter], settings: Sequence[Params]) -> None:
        """Args: space: the options. settings: by place; every value of the options that each has."""
        self.space = tuple(space)
        self.settings = tuple(dict(params) for params in settings)
        self._choices = np.array([parameter.distribution.kind == "choice" for parameter in self.space], dtype=np.bool_)
        self._points = np.array([self._point(params) for params in self.settings]).reshape(-1, len(self.space))
        self._places = {_key(params): place for place, params in enumerate(self.settings)}

    def place(self, params: Params) -> int | None:
        """Where exactly these values stand in the list, None where they do not."""
        return self._places.get(_key(params))

    def nearest(self, params: Params, left: NDArray[np.bool_] | None = None) -> int:
        """The place of the setting nearest to these values; of several, the first.

        Args:
            left: [settings] which may be taken; all where it is not given.

        Raises:
            ValueError: none may be taken.
        """
        if left is not None and not left.any():
            raise ValueError("no setting is left")
        away = self._away(self._point(params))
        return int(np.argmin(away if left is None else np.where(left, away, np.inf)))

    def _away(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """[settings] squared distances."""
        apart = self._points - point
        apart = np.where(self._choices, np.abs(apart) > 0.5, apart**2)
        absent = np.isnan(self._points) != np.isnan(point)
        return np.asarray(np.where(absent, 1.0, np.nan_to_num(apart)).sum(axis=1))

    def _point(self, params: Params) -> NDArray[np.float64]:
        """[options] nan where the option is not there."""
        return np.array(
            [
                _coordinate(parameter.distribution, params[parameter.name]) if parameter.name in params else np.nan
                for parameter in self.space
            ]
        )


def _coordinate(distribution: Distribution, value: object) -> float:
    if distribution.kind == "choice":
        return float(distribution.choices.index(distribution.checked(value)))
    assert isinstance(value, int | float)
    if distribution.kind in ("loguniform", "logint"):
        return math.log(value / distribution.low) / math.log(distribution.high / distribution.low)
    return (value - distribution.low) / (distribution.high - distribution.low)


def _key(params: Params) -> frozenset[tuple[str, object]]:
    return frozenset(params.items())
