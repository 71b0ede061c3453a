"""Measures as columns of the tidy table: of the frontier's members on each split, of every trial on tune images."""

from __future__ import annotations

import pandas as pd

from robustray.measures.metrics import METRICS, measure_of
from sweeps.record import Snapshot, measured
from sweeps.standing import SELECTION, TEST

_PREFIX = {SELECTION: "judged", TEST: "test"}
ENDS = ("", "_low", "_high")
"""Of the names of columns: a value, and the ends of its 95 % interval."""


def columns(snapshot: Snapshot) -> dict[str, dict[int, float]]:
    """Values by column, of each trial by its number: `judged_lipschitz` on the selection set, `test_lipschitz`,
    `train_lipschitz`, and the ends `_low` and `_high` of their 95 % intervals. What is not finite is missing.
    """
    found: dict[str, dict[int, float]] = {}
    for each in measured.found(snapshot):
        for end, value in zip(ENDS, (each.value, each.low, each.high), strict=True):
            by_trial = found.setdefault(column(each.split, each.name) + end, {})
            by_trial.pop(each.trial, None)  # asked for again with other options: the latest counts
            if value is not None:
                by_trial[each.trial] = value
    return found


def column(split: str, name: str) -> str:
    """Where the values of a measure on a split stand."""
    return f"{_PREFIX.get(split, split)}_{name}"


def of_all(df: pd.DataFrame) -> list[str]:
    """Columns of what was measured of every trial as its training ended, on tune images, where any has a number.

    Args:
        df: as `analysis.load` gives it.
    """
    always = set(METRICS)  # what it goes through; measures are found by asking
    return [name for name in df.columns if name not in always and measure_of(name) and df[name].notna().any()]
