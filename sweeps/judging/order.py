"""What to run first. Knows nothing of trials and jobs: keys, where they may stand, and how far their work has come."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from sweeps.frontier import Values, minimised, ranks
from sweeps.judging.rows import Rows

K = TypeVar("K", bound=tuple[int, str])
_OFTEN = 64  # ranks are taken anew after one change per so many points


@dataclass
class _Offer:
    """The next piece of work of a key."""

    depth: int  # pieces before it
    late: bool
    stamp: int = 0  # which of its entries in the heaps is valid


class _Entry(NamedTuple, Generic[K]):
    """What the heaps compare."""

    rank: int
    depth: int
    key: K
    stamp: int


class Order(Generic[K]):
    """Those most likely on the frontier first, for they are paid for anyway and prove others needless; among them the cheap
    early pieces of all before the expensive late ones of any, for an early piece may show that a key belongs to the rest.

    How likely a key is, its rank says: 0 for those that no other point dominates, 1 for those among the rest, and so on. It
    orders the work, no more, so it may be a little old: among 128 points and more, ranks are taken anew once one in 64 has
    moved. A key that moved is meanwhile held against those of rank 0, so that what became unlikely loses its precedence at
    once. A late piece of a key that is not of rank 0 waits while anything runs that may prove it needless.

    `place` costs O(points of rank 0), `first` O(log N); ranks of all cost O(N log N) after N / 64 changes.
    """

    def __init__(self, objectives: Mapping[str, str]) -> None:
        """Args: objectives: name to "max" or "min"."""
        self._objectives = dict(objectives)
        self._points = Rows[K](len(self._objectives))
        self._ranks = np.zeros(0, np.int64)  # by row
        self._best = np.zeros(0, np.int64)  # rows of rank 0
        self._changes = 0  # since ranks were taken
        self._offers: dict[K, _Offer] = {}
        self._stamp = 0
        self._eager: list[_Entry[K]] = []  # a heap
        self._patient: list[_Entry[K]] = []  # those that wait while anything runs

    def place(self, key: K, values: Values, *, apart: bool = False) -> None:
        """Where a key may stand at best, or stands. Points without work count in the ranks as well.

        Args:
            apart: it is not likely to be on the frontier wherever it stands: all others come first, and it outranks none.
        """
        point = minimised([values], self._objectives)[0]
        if apart:
            point = np.full_like(point, np.inf)
        row = self._points.find(key)
        new = row is None
        if row is not None and np.array_equal(self._points.values[row], point):
            return
        row = self._points.put(key, point)
        if len(self._ranks) < len(self._points.values):
            self._ranks = np.concatenate([self._ranks, np.zeros(len(self._points.values) - len(self._ranks), np.int64)])
        self._changes += 1
        best = self._points.values[self._best]
        likely = not (np.all(best <= point, axis=1) & np.any(best < point, axis=1)).any()
        self._ranks[row] = 0 if likely else 1 if new else max(1, int(self._ranks[row]))
        self._push(key)

    def offer(self, key: K, depth: int, *, late: bool = False) -> None:
        """A key that was placed has a piece of work that can be begun.

        Args:
            depth: how many pieces come before it.
            late: whether it is one of the expensive pieces.
        """
        known = self._offers.get(key)
        if known is None or (known.depth, known.late) != (depth, late):
            self._offers[key] = _Offer(depth, late)
            self._push(key)

    def withhold(self, key: K) -> None:
        """Nothing of a key can be begun just now."""
        self._offers.pop(key, None)

    def remove(self, key: K) -> None:
        """A key has no work any more, and is no point either."""
        self._offers.pop(key, None)
        if self._points.remove(key):
            self._changes += 1

    def first(self, *, running: bool) -> K | None:
        """The key whose piece of work comes first; None where there is none to be begun.

        Args:
            running: whether anything runs that may prove other work needless.
        """
        if self._changes > 0 and self._changes >= len(self._points) // _OFTEN:
            self._rank()
        heaps = (self._eager,) if running else (self._eager, self._patient)
        tops = [top for heap in heaps if (top := self._top(heap)) is not None]
        return min(tops).key if tops else None

    def early(self) -> K | None:
        """The key of rank 0 whose piece of work comes first and is none of the expensive ones; None where there is none."""
        if self._changes > 0 and self._changes >= len(self._points) // _OFTEN:
            self._rank()
        top = self._top(self._eager)  # of rank 0 the cheap pieces come before the late ones: they are less deep
        return None if top is None or top.rank > 0 or self._offers[top.key].late else top.key

    def _top(self, heap: list[_Entry[K]]) -> _Entry[K] | None:
        while heap and not self._valid(heap[0]):
            heapq.heappop(heap)  # things have changed since it was put there
        return heap[0] if heap else None

    def _valid(self, entry: _Entry[K]) -> bool:
        offer = self._offers.get(entry.key)
        return offer is not None and offer.stamp == entry.stamp

    def _push(self, key: K) -> None:
        offer, row = self._offers.get(key), self._points.find(key)
        if offer is None or row is None:
            return
        self._stamp += 1
        offer.stamp = self._stamp
        rank = int(self._ranks[row])
        heap = self._patient if offer.late and rank > 0 else self._eager
        heapq.heappush(heap, _Entry(rank, offer.depth, key, offer.stamp))

    def _rank(self) -> None:
        """Takes the ranks of all points anew."""
        self._changes = 0
        rows = self._points.taken()
        fresh = ranks(self._points.values[rows])
        moved = rows[fresh != self._ranks[rows]]
        self._ranks[rows] = fresh
        self._best = rows[fresh == 0]
        for row in moved.tolist():
            self._push(self._points.keys[row])
        for heap in (self._eager, self._patient):
            if len(heap) > 4 * len(self._offers):  # most of them have lost their validity
                heap[:] = filter(self._valid, heap)
                heapq.heapify(heap)
