"""Device time that a sweep took: by its ledger where it has one, else by what the record and the verdicts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis import judgements
from sweeps.record import Snapshot, ledger


@dataclass(frozen=True)
class DeviceTime:
    """Device-seconds."""

    training: float
    judging: float
    by_split: Mapping[str, float]  # of judging: the attacks alone
    every_attempt: bool  # else what failed or was interrupted counts only as far as it left results


def of_sweep(folder: Path, snapshot: Snapshot) -> DeviceTime:
    """Device time of a sweep, finished or running.

    With a ledger every attempt counts, from the start of its job to the end: also one that failed, was interrupted, or judged a
    trial that was skipped later. What was done before a sweep had a ledger counts as without one: results are the least
    that was spent.

    Args:
        folder: the sweep's. snapshot: its record.
    """
    by_split = judgements.device_seconds(folder, snapshot)
    training = {trial.number: 3600 * trial.metrics.get("cost_device_hours", 0.0) for trial in snapshot.trials}
    judging, spent = sum(by_split.values()), ledger.read(folder)
    if spent is None:
        return DeviceTime(sum(training.values()), judging, by_split, every_attempt=False)
    trained = sum(max(seconds, spent.by_trial.get(("train", number), 0.0)) for number, seconds in training.items())
    judged = sum(spent.by_kind.get(kind, 0.0) for kind in ("judge", "probe"))
    return DeviceTime(trained, max(judging, judged), by_split, every_attempt=True)
