"""How a search got where it is: what was known after each trial that ended, and what had been spent by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import axes, curves, sight
from analysis.axes import RANK, Axis
from analysis.pareto import nondominated
from sweeps.record import Snapshot

_FEWEST = 2  # trials with numbers; of one there is no way to tell


def progress(df: pd.DataFrame, snapshot: Snapshot) -> dict[str, Any] | None:
    """Trials in the order in which they ended, as plain data for the page's slider over cost; None for fewer than two.

    Numbers are the cheap attack's on validation, for these alone were there at the time, and for every trial.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.

    Returns:
        `trial`, `hours` (device hours of training and deriving so far), `hypervolume` (of the trials so far), `x` and `y` (as
        they are drawn; None where a trial does not count: not complete, flagged, infeasible, or without a number), and
        `axes`: titles and signs of both, and their ranges, which hold the trials of all times that are near the frontier.
    """
    rows = curves.reached(snapshot, df)
    known = df.set_index("trial", drop=False).loc[rows["trial"]]
    plane = axes.plane(snapshot.objectives)
    counts = curves.counted(known, snapshot.objectives)
    if counts.sum() < _FEWEST or rows["cost_device_hours"].iloc[-1] <= 0:
        return None
    drawn = [] if plane[0].name == RANK else list(zip("xy", plane, strict=True))
    placed = {at: _where(known, axis, counts) for at, axis in drawn}
    return {
        "trial": rows["trial"].tolist(),
        "hours": _short(rows["cost_device_hours"]),
        "hypervolume": _short(rows["hypervolume"]),
        **placed,
        "axes": [
            {"title": axis.title, "sign": axis.sign, "range": around}
            for (_, axis), around in zip(drawn, _ranges(placed, plane), strict=True)
        ],
    }


def _ranges(placed: Mapping[str, list[float | None]], plane: tuple[Axis, Axis]) -> list[list[float]]:
    """Of both axes, as the frontier's figure has them, whatever the slider says; none where there are no axes."""
    if not placed:
        return []
    drawn = pd.DataFrame(placed, dtype=float).dropna()
    best = nondominated(drawn[["x", "y"]].to_numpy(), [axis.sign > 0 for axis in plane])
    seen = sight.near(drawn, drawn[best], plane)
    return [[float(f"{end:.5g}") for end in sight.ends(axis, seen[at])] for at, axis in zip("xy", plane, strict=True)]


def out_of_view(found: Mapping[str, Any]) -> int:
    """How many trials lie outside the ranges of the axes."""
    outside = set[int]()
    for at, axis in zip("xy", found["axes"], strict=False):
        low, high = axis["range"]
        outside |= {
            n
            for n, value in zip(found["trial"], found[at], strict=True)
            if value is not None and not low < value < high
        }
    return len(outside)


def _where(known: pd.DataFrame, axis: Axis, counts: np.ndarray[Any, Any]) -> list[float | None]:
    values = axis.scale * known[axis.name].to_numpy(dtype=float)
    return [float(f"{value:.5g}") if fits else None for value, fits in zip(values, counts, strict=True)]


def _short(values: pd.Series[Any]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def said(found: Mapping[str, Any]) -> str:
    """When the search came to most of what it has: `95 % of it was reached after 3.1 of 12.0 device hours, 14 of 60 trials`."""
    volumes, hours = found["hypervolume"], found["hours"]
    if volumes[-1] <= 0:
        return ""
    at = next(i for i, volume in enumerate(volumes) if volume >= 0.95 * volumes[-1])
    unit, scale = (
        ("hours", 1.0) if hours[-1] >= 1 else ("minutes", 60.0) if hours[-1] * 60 >= 1 else ("seconds", 3600.0)
    )
    return (
        f"95 % of the hypervolume was reached after {scale * hours[at]:.1f} of {scale * hours[-1]:.1f} device {unit} of "
        f"training, by {at + 1} of {len(hours)} trials that ended."
    )
