"""What part of a plane is in a figure's first view: the frontier, and what lies near it."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.axes import Axis

_NEAR = 5.0  # points; a trial within the frontier's own span of it, or within this, is in view


def near(drawn: pd.DataFrame, leaders: pd.DataFrame, plane: tuple[Axis, Axis]) -> pd.DataFrame:
    """Those of the points that are in view: one at chance level, or one that masks gradients, must not squeeze the frontier
    into a corner.

    Args:
        drawn: `x` and `y` of points. leaders: the same of the frontier's.
        plane: both axes.
    """
    for at, axis in zip("xy", plane, strict=True):
        low, high = leaders[at].min(), leaders[at].max()
        room = max(high - low, _NEAR if axis.scale == 100 else high)
        drawn = drawn[drawn[at].between(low - room, high + room)]
    return drawn


def ends(axis: Axis, values: Iterable[float]) -> list[float]:
    """The range of an axis around values, with room for marks and labels."""
    known = list(values)
    low, high = min(known), max(known)
    room = 0.07 * (high - low)
    if axis.scale == 100:  # percent
        room = max(room, 0.5)
        return [max(low - room, -1.0), min(high + room, 101.0)]
    room = room or 0.5 * abs(high) or 0.5
    return [low - room, high + room]
