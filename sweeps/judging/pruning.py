"""Who need not be judged any further. Knows nothing of trials and jobs: settings by number, and where they stand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import Values, minimised, undominated
from sweeps.judging.rows import Rows


class Pruning:
    """The frontier of settings that stand, and which bounds it dominates.

    What no setting of the frontier dominates, no other one that stands does. So a bound that moves is compared with the
    frontier, O(frontier), and a setting that joins the frontier with all bounds, in one pass over a matrix; where one leaves
    it, the bounds that it dominated are compared anew.
    """

    def __init__(self, objectives: Mapping[str, str]) -> None:
        """Args: objectives: name to "max" or "min"."""
        self._objectives = dict(objectives)
        self._standing = Rows[int](len(self._objectives))
        self._front = Rows[int](len(self._objectives))
        self._bounds = Rows[int](len(self._objectives))
        self._beaten: NDArray[np.bool_] = np.zeros(0, np.bool_)  # by row of the bounds: dominated
        self._changed: set[int] = set()

    @property
    def frontier(self) -> list[int]:
        """Settings that stand and that no other dominates; of equals all."""
        return sorted(self._front.keys[row] for row in self._front.taken().tolist())

    def stands(self, setting: int) -> bool:
        """Whether a setting is known exactly, and may dominate others."""
        return setting in self._standing

    def stand(self, setting: int, values: Values) -> None:
        """A setting is known exactly, and stands there."""
        point = minimised([values], self._objectives)[0]
        row = self._standing.find(setting)
        if row is not None and np.array_equal(self._standing.values[row], point):
            return
        self.remove(setting)
        self._standing.put(setting, point)
        if not _dominate(self._front.values, point).any():
            self._join(setting, point)

    def bound(self, setting: int, values: Values) -> None:
        """A setting is not known exactly, and cannot be better than this."""
        point = minimised([values], self._objectives)[0]
        self._leave(setting)
        row = self._bounds.put(setting, point)
        if len(self._beaten) < len(self._bounds.values):
            more = np.zeros(len(self._bounds.values) - len(self._beaten), np.bool_)
            self._beaten = np.concatenate([self._beaten, more])
        self._beaten[row] = _dominate(self._front.values, point).any()
        self._changed.add(setting)

    def remove(self, setting: int) -> None:
        """A setting takes no part: neither does it dominate, nor is it dominated."""
        self._leave(setting)
        self._bounds.remove(setting)
        self._changed.add(setting)

    def better(self, setting: int) -> list[int]:
        """Settings of the frontier that dominate a setting's bound; none where it has no bound."""
        row = self._bounds.find(setting)
        if row is None or not self._beaten[row]:
            return []
        found = np.flatnonzero(_dominate(self._front.values, self._bounds.values[row]))
        return [self._front.keys[each] for each in found.tolist()]

    def changed(self) -> set[int]:
        """Settings that were told of, and those that are dominated now and were not before, or the other way round.

        Each is given once.
        """
        changed, self._changed = self._changed, set()
        return changed

    def _join(self, setting: int, point: NDArray[np.float64]) -> None:
        for row in np.flatnonzero(_dominated(self._front.values, point)).tolist():
            self._front.remove(self._front.keys[row])
        self._front.put(setting, point)
        dominated = _dominated(self._bounds.values, point)
        self._note(np.flatnonzero(dominated & ~self._beaten))
        self._beaten |= dominated

    def _leave(self, setting: int) -> None:
        """Takes a setting out of those that stand. What it alone dominated is open again."""
        row = self._standing.find(setting)
        if row is None:
            return
        point = self._standing.values[row].copy()
        self._standing.remove(setting)
        if not self._front.remove(setting):
            return
        rows = self._standing.taken()
        for each in rows[undominated(self._standing.values[rows])].tolist():
            self._front.put(self._standing.keys[each], self._standing.values[each])
        theirs = np.flatnonzero(_dominated(self._bounds.values, point))
        still = np.zeros(len(theirs), np.bool_)
        for each in self._front.taken().tolist():
            still |= _dominated(self._bounds.values[theirs], self._front.values[each])
        self._beaten[theirs] = still
        self._note(theirs[~still])

    def _note(self, rows: NDArray[np.int64]) -> None:
        self._changed.update(self._bounds.keys[row] for row in rows.tolist())


def _dominate(points: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n] which of [n, m] points dominate [m] one, all better when smaller."""
    return np.asarray(np.all(points <= point, axis=1) & np.any(points < point, axis=1))


def _dominated(points: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n] which of [n, m] points [m] one dominates, all better when smaller."""
    return np.asarray(np.all(points >= point, axis=1) & np.any(points > point, axis=1))
