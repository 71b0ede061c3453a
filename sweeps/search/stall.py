"""Whether the last trials have moved the frontier, by the hypervolume of what the cheap attack says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import attained, minimised, undominated
from sweeps.record.constraints import Limits, missed, violations
from sweeps.record.facts import TrialRecord


class Growth:
    """The hypervolume of the first n trials that ended, and of the first n - k of them.

    Every trial counts as it was told when it ended: one attack measured all of them, and what a judge finds out later cannot
    turn a gain into a loss. Replicates are left out: they show how sure a setting is, and are no new one. So are derived
    points, and what misses a constraint.
    """

    def __init__(self, objectives: Mapping[str, str], limits: Limits, last: int) -> None:
        """Args: last: k, how many trials are to have gained something."""
        self._objectives = dict(objectives)
        self._limits = limits
        self._last = last
        self._ended: list[NDArray[np.float64] | None] = []  # values of each, None of one that is on no frontier
        self._now, self._then = Front(objectives), Front(objectives)

    def take(self, trials: Iterable[TrialRecord]) -> None:
        """More trials have ended, in this order."""
        for trial in trials:
            if trial.origin in ("derived", "lost", "replicate"):
                continue
            values = self._values(trial)
            self._ended.append(values)
            if values is not None:
                self._now.add(values)
            before = len(self._ended) - self._last
            if before > 0 and (earlier := self._ended[before - 1]) is not None:
                self._then.add(earlier)

    @property
    def gain(self) -> float | None:
        """What the last k have added to the share of the box that is dominated; None before there are more than k."""
        if len(self._ended) <= self._last or not len(self._then.rows):
            return None
        worst = self._now.worst
        return self._now.volume(worst) - self._then.volume(worst)

    def _values(self, trial: TrialRecord) -> NDArray[np.float64] | None:
        if trial.outcome != "complete" or missed(violations(trial.metrics, self._limits)):
            return None
        values = np.array([trial.metrics.get(name, np.nan) for name in self._objectives], dtype=float)
        return values if np.isfinite(values).all() else None


class Front:
    """The points of a growing set that no other one dominates."""

    def __init__(self, objectives: Mapping[str, str]) -> None:
        self._objectives = objectives
        self.rows = np.zeros((0, len(objectives)))
        self.worst = np.zeros(len(objectives))
        """[m] the largest value seen of each objective: the corner of those that are no shares."""

    def add(self, values: NDArray[np.float64]) -> None:
        """Another point, [m] in the order of the objectives."""
        self.worst = np.maximum(self.worst, values)
        rows = np.vstack([self.rows, values])
        points = [dict(zip(self._objectives, row, strict=True)) for row in rows.tolist()]
        self.rows = rows[undominated(minimised(points, self._objectives))]

    def volume(self, worst: NDArray[np.float64]) -> float:
        """Share of the box that is dominated. Args: worst: [m] as above."""
        return attained(self.rows, self._objectives, dict(zip(self._objectives, worst.tolist(), strict=True)))
