"""Device time that a sweep took: by its ledger where it has one, else by what the record and the verdicts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from analysis import judgements
from sweeps.record import Snapshot, ledger, points


@dataclass(frozen=True)
class DeviceTime:
    """Device-seconds."""

    training: float
    judging: float  # of derived points too
    by_split: Mapping[str, float]  # of judging: the attacks alone
    every_attempt: bool  # else what failed or was interrupted counts only as far as it left results
    deriving: float = 0.0  # making derived points, their parents' training and all judging apart
    judging_points: float = 0.0  # of judging: derived points


def of_sweep(folder: Path, snapshot: Snapshot) -> DeviceTime:
    """Device time of a sweep, finished or running.

    With a ledger every attempt counts, from the start of its job to the end: also one that failed, was interrupted, or judged a
    trial that was skipped later. What was done before a sweep had a ledger counts as without one: results are the least
    that was spent.

    Args:
        folder: the sweep's. snapshot: its record.
    """
    by_split = judgements.device_seconds(folder, snapshot)
    by_number = {trial.number: trial for trial in snapshot.trials}
    own = {
        n: 3600 * points.own_cost(trial, by_number.__getitem__, "cost_device_hours") for n, trial in by_number.items()
    }
    derived = {number for number, trial in by_number.items() if points.derived(trial)}
    judged_points = sum(judged.seconds for (number, _), judged in snapshot.judged.items() if number in derived)
    judging, spent = sum(by_split.values()), ledger.read(folder)
    if spent is None:
        making = sum(own[number] for number in derived)
        return DeviceTime(sum(own.values()) - making, judging, by_split, False, making, judged_points)
    by_trial = {n: max(own[n], spent.by_trial.get(("derive" if n in derived else "train", n), 0.0)) for n in own}
    making = sum(by_trial[number] for number in derived)
    judged = sum(spent.by_kind.get(kind, 0.0) for kind in ("judge", "probe"))
    on_points = max(judged_points, sum(spent.by_trial.get(("judge", number), 0.0) for number in derived))
    return DeviceTime(sum(by_trial.values()) - making, max(judging, judged), by_split, True, making, on_points)
