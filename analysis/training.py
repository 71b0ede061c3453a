"""Training of every trial, epoch by epoch, as plain data for the page; and how much robust overfitting took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import curves, points, words
from robustray.measures.metrics import ACCURACIES
from sweeps.record import Snapshot

_MOST = 40  # epochs of a trial that are drawn; of longer trainings every second, third ...
_SHORT = dict(zip(("clean", "robust"), ACCURACIES, strict=True))


def training(folder: Path, snapshot: Snapshot) -> dict[int, dict[str, Any]]:
    """By trial: `epoch`, `clean` and `robust` (percent, by the cheap attack on validation; None where not measured), `chosen`.

    `chosen` is the epoch whose weights count, None where the trial has not ended. Trials without measured epochs are left out.

    Args:
        folder: the sweep's.
        snapshot: its record.

    Raises:
        UserError: a trial's metrics are damaged.
    """
    rows = curves.epochs(folder, [trial.number for trial in snapshot.trials])
    if not set(ACCURACIES) <= set(rows.columns):
        return {}
    rows = rows.dropna(subset=list(ACCURACIES), how="all")
    chosen = {trial.number: trial.epoch for trial in snapshot.trials if trial.outcome is not None}
    return {
        number: _one(rows[rows["trial"] == number], chosen.get(number)) for number in rows["trial"].unique().tolist()
    }


def _one(rows: pd.DataFrame, chosen: int | None) -> dict[str, Any]:
    epoch = rows["epoch"].to_numpy()
    every = -(-len(epoch) // _MOST)
    kept = np.unique([*range(0, len(epoch), every), len(epoch) - 1, *np.flatnonzero(epoch == chosen)])
    numbers = {short: _percent(rows[name].to_numpy(dtype=float)[kept]) for short, name in _SHORT.items()}
    return {"epoch": epoch[kept].tolist(), **numbers, "chosen": chosen if chosen in epoch else None}


def _percent(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [None if np.isnan(value) else round(100 * float(value), 1) for value in values]


def lost(curve: Mapping[str, Any]) -> float | None:
    """What a training lost of robust accuracy from its best epoch to its last, in points; None where nothing was measured."""
    robust = [value for value in curve["robust"] if value is not None]
    return max(robust) - robust[-1] if robust else None


def said(df: pd.DataFrame, objectives: Mapping[str, str], found: Mapping[int, Mapping[str, Any]]) -> str:
    """Whether members would have been worse at their last epoch, and which one most."""
    leading: Sequence[int] = [number for number in sorted(points.leaders(df, objectives)) if number in found]
    falls = {number: fall for number in leading if (fall := lost(found[number])) is not None}
    if not falls:
        return ""
    worst = max(falls, key=lambda number: falls[number])
    if falls[worst] < 0.05:
        return "No member lost robust accuracy towards the end of its training."
    some = sum(fall >= 0.05 for fall in falls.values())
    return (
        f"{some} of {words.count(len(falls), 'trained member')} lost robust accuracy from the best epoch to the last one, "
        f"trial {worst} most: {falls[worst]:.1f} points. The weights of the marked epoch are the ones that were judged."
    )
