"""What trackers of experiments want to know, out of a sweep's events: runs with options, curves and an end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from sweeps.events import Event, JobEnded, JobHeard, PointEnded, TrialEnded, TrialJudged
from sweeps.record import TrialRecord
from sweeps.record.status import Status
from sweeps.running.queues import Job

Numbers = Mapping[str, float]
_NO_CURVES = ("training_iteration", "epoch", "epochs", "device_seconds", "seconds")


class Tracker(Protocol):
    """Where runs are kept: a run per trial, and one of the sweep."""

    def curve(self, trial: int, numbers: Numbers, epoch: int) -> None:
        """What a trial has measured after an epoch. It may be said again: the last time counts."""
        ...

    def judged(self, trial: int, numbers: Numbers) -> None:
        """What the judge has found of a trial: names carry the split."""
        ...

    def ended(self, trial: TrialRecord, numbers: Numbers) -> None:
        """A trial has an outcome; its options are in the record that comes along."""
        ...

    def sweep(self, numbers: Numbers, seconds: int) -> None:
        """What is known of the whole sweep after so many device-seconds, which grow over all lives of its driver."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class Tracking:
    """An ear that speaks to a tracker."""

    def __init__(self, tracker: Tracker) -> None:
        """Tells nothing yet."""
        self._tracker = tracker
        self._before: Numbers = {}

    def event(self, event: Event) -> None:
        """Something has happened."""
        match event:
            case JobHeard(job, result):
                self._curve(job, result)
            case JobEnded(job, end):
                self._curve(job, end.result)
            case TrialEnded(trial) | PointEnded(trial):
                self._tracker.ended(trial, numbers(trial.metrics))
            case TrialJudged(number, split, judged):
                named = {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
                self._tracker.judged(number, {f"{split}/{name}": value for name, value in named.items()})

    def _curve(self, job: Job, result: Mapping[str, Any]) -> None:
        if job.work["kind"] == "train" and isinstance(result.get("epoch"), int):
            found = numbers({name: value for name, value in result.items() if name not in _NO_CURVES})
            self._tracker.curve(job.number, found, int(result["epoch"]))

    def status(self, status: Status) -> None:
        """What the sweep is at; told on where it has changed."""
        found: dict[str, float] = {
            "ended": sum(status.outcomes.values()),
            "complete": status.outcomes.get("complete", 0),
            "frontier_size": len(status.frontier),
            "device_hours": round(status.device_seconds / 3600, 3),
        }
        if status.hypervolume is not None:
            found["hypervolume"] = status.hypervolume
        if found != self._before:
            self._before = found
            self._tracker.sweep(found, int(status.device_seconds))

    def close(self) -> None:
        """Nothing more will come."""
        self._tracker.close()


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among values."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
