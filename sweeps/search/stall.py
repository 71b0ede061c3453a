"""Whether the last trials have moved the frontier, by the hypervolume of what the cheap attack says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import attained, undominated
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
        before = len(self._ended)
        self._ended += [self._values(trial) for trial in trials if trial.origin not in ("derived", "lost", "replicate")]
        self._now.add(self._ended[before:])
        self._then.add(self._ended[max(0, before - self._last) : max(0, len(self._ended) - self._last)])

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
        self._signs = np.array([-1.0 if mode == "max" else 1.0 for mode in objectives.values()])
        self.rows = np.zeros((0, len(objectives)))
        self.worst = np.zeros(len(objectives))
        """[m] the largest value seen of each objective: the corner of those that are no shares."""

    def add(self, points: Iterable[NDArray[np.float64] | None]) -> None:
        """More points, each [m] in the order of the objectives; None is none."""
        new = [point for point in points if point is not None]
        if new:
            rows = np.vstack([self.rows, *new])
            self.worst = np.maximum(self.worst, rows.max(axis=0))
            self.rows = rows[undominated(rows * self._signs)]

    def volume(self, worst: NDArray[np.float64]) -> float:
        """Share of the box that is dominated. Args: worst: [m] as above."""
        return attained(self.rows, self._objectives, dict(zip(self._objectives, worst.tolist(), strict=True)))
