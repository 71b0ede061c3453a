"""How a search got where it is: what was known after each trial that ended, and what had been spent by then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis import axes, curves
from analysis.axes import RANK, Axis
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
        `axes`: titles and signs of both.
    """
    rows = curves.reached(snapshot, df)
    known = df.set_index("trial", drop=False).loc[rows["trial"]]
    plane = axes.plane(snapshot.objectives)
    counts = curves.counted(known, snapshot.objectives)
    if counts.sum() < _FEWEST or rows["cost_device_hours"].iloc[-1] <= 0:
        return None
    drawn = [] if plane[0].name == RANK else list(zip("xy", plane, strict=True))
    return {
        "trial": rows["trial"].tolist(),
        "hours": _short(rows["cost_device_hours"]),
        "hypervolume": _short(rows["hypervolume"]),
        **{at: _where(known, axis, counts) for at, axis in drawn},
        "axes": [{"title": axis.title, "sign": axis.sign} for _, axis in drawn],
    }


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
