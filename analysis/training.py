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
    """What a training lost of robust accuracy from its best epoch to its last, in points; None where that is not known.

    It takes two measured epochs: of one that was measured only as it ended, nobody knows whether it had been better before.
    """
    robust = _known(curve)
    return max(robust) - robust[-1] if len(robust) > 1 else None


def drawn(found: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether there is a line to draw: some training was measured more than once."""
    return any(len(_known(curve)) > 1 for curve in found.values())


def said(df: pd.DataFrame, objectives: Mapping[str, str], found: Mapping[int, Mapping[str, Any]]) -> str:
    """Whether members would have been worse at their last epoch, and which one most, as far as epochs were measured."""
    leading: Sequence[int] = [number for number in sorted(points.leaders(df, objectives)) if number in found]
    falls = {number: fall for number in leading if (fall := lost(found[number])) is not None}
    once = sum(len(_known(found[number])) == 1 for number in leading)
    if not falls:
        return (
            _once(once, "trained member", "A smaller checkpoints.validate_every measures more often.") if once else ""
        )
    others = _once(once, "other") if once else ""
    worst = max(falls, key=lambda number: falls[number])
    if falls[worst] < 0.05:
        were = "was" if len(falls) == 1 else "were"
        several = f"None of {words.count(len(falls), 'trained member')} that {were} measured more than once"
        whom = several if once else "No member"
        return " ".join(filter(None, [f"{whom} lost robust accuracy towards the end of its training.", others]))
    some = sum(fall >= 0.05 for fall in falls.values())
    told = (
        f"{some} of {words.count(len(falls), 'trained member')} lost robust accuracy from the best epoch to the last one, "
        f"trial {worst} most: {falls[worst]:.1f} points."
    )
    return " ".join(filter(None, [told, others, "The weights of the marked epoch are the ones that were judged."]))


def _once(n: int, whom: str, advice: str = "") -> str:
    were, they = ("was", "it") if n == 1 else ("were", "they")
    told = (
        f"{words.count(n, whom)} {were} measured once, at the end: whether {they} had been better before is not known."
    )
    return " ".join(filter(None, [told, advice]))


def _known(curve: Mapping[str, Any]) -> list[float]:
    return [value for value in curve["robust"] if value is not None]
