"""Successive halving by non-dominated rank: the best share of each rung goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import is_

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import minimised, ranks
from sweeps.record.constraints import missed, shares
from sweeps.search.field import Choice, Curve, Field, Nothing, Resume, Start
from sweeps.search.looks import LOOK, Agreement, Trust

Array = NDArray[np.float64]
Places = NDArray[np.int64]
ROBUST = "robust_accuracy"
NOT_ROBUST = 0.05
"""Robust accuracy up to which there is none: half of what guessing among ten classes gets; undefended networks have about 0."""


class ParetoHalving:
    """Asynchronous successive halving (Li et al., MLSys 2020), of the promoting kind, by non-dominated rank (as Schmucker et
    al., 2021, have it for several objectives): a paused trial goes on when it is among the first floor(n / eta) of the n trials
    that came to its rung or failed before it. Nothing is stopped for good: a trial that was not among them may be later.

    The order in a rung: what keeps to the limits and has some robustness; then what has none, which would stay on every
    frontier for its clean accuracy alone; then what misses limits, by the sum of the shares by which it misses them (those
    that were measured there). Among equals by front (Deb et al., 2002, the definition: whom nobody else dominates, then among
    the rest); inside a front by crowding distance, the widest first; then by order of report. Of trials that are running only
    the rungs that they came to count.

    Where a budget of time leaves too little for another trial, the best of the highest rung goes on, whatever its place.

    Where the first rung is a cheap look, more of it go on, up to all, the less looks say of whole trainings: `Trust`. Likewise
    of any other rung, the less it says of what the judge finds, where trials are judged while others train: `Agreement`.
    """

    def __init__(self, eta: float = 3.0, *, keep_paused: int | None = None, not_robust: float = NOT_ROBUST) -> None:
        """Args:
        eta: one in so many goes on. keep_paused: so many paused trials may go on, the others are given up.
        not_robust: the robust accuracy up to which there is none.
        """
        if not eta > 1:
            raise ValueError(f"eta must be above 1, not {eta}")
        self.eta, self.keep_paused, self.not_robust = eta, keep_paused, not_robust
        self._about: object = None
        self._seen: list[Curve] = []
        self._rungs: list[_Ranking] = []
        self._trust: list[Trust] = []

    def choose(self, field: Field) -> Choice:
        """The best of the highest rung that has one to go on; a new trial of the sampler's choosing where none has."""
        self._read(field)
        if field.closing:
            return self._last(field)
        for rung in reversed(self._rungs[:-1]):
            for at in rung.order[: self._places(rung, field)]:
                if rung.waits(int(at)):
                    return Resume(rung.numbers[at])
        return Start()

    def _last(self, field: Field) -> Choice:
        """Where nothing that begins would come to its end: the best of the highest rung that would, whatever its place."""
        left = {curve.number: (curve.seconds or 0.0) * (1 - curve.share) for curve in field.curves}
        for rung in reversed(self._rungs[:-1]):
            for at in rung.order:
                if rung.waits(int(at)) and left[rung.numbers[at]] <= field.seconds:
                    return Resume(rung.numbers[at])
        return Nothing()

    def _places(self, rung: _Ranking, field: Field) -> int:
        """How many of a rung go on."""
        if rung is self._rungs[0] and field.rungs[0] == LOOK:
            return int(rung.count * self._trust[0].share(self.eta) + 1e-9)
        share = self._trust[self._rungs.index(rung)].share(self.eta)
        return int(rung.count / self.eta if share <= 1 / self.eta else rung.count * share + 1e-9)

    def given_up(self, field: Field) -> Sequence[int]:
        """Paused trials beyond `keep_paused`, those that stand last in their rungs, by the share of the rung before them.

        Never the one that goes on next, nor one that dominates all others at its rung, however few may wait: at most so many
        more than `keep_paused` do for that. Those that would go on as soon as workers are free come before the others.
        """
        if self.keep_paused is None:
            return ()
        choice = self.choose(field)
        if sum(len(rung.paused) for rung in self._rungs) <= self.keep_paused:
            return ()
        going = choice.number if isinstance(choice, Resume) else None
        places: list[tuple[bool, bool, float, int, int]] = []
        for index, rung in enumerate(self._rungs[:-1]):
            on, count, paused = self._places(rung, field), rung.count, rung.paused
            best = rung.numbers[rung.order[0]] if rung.one_dominates else None
            order = map(rung.numbers.__getitem__, rung.order.tolist())
            places += [
                (number not in (going, best), place >= on, place / count, -index, number)
                for place, number in enumerate(order)
                if number in paused
            ]
        kept = max(self.keep_paused, sum(not other for other, *_ in places))
        return sorted(number for *_, number in sorted(places)[kept:])

    def places(self, field: Field) -> Mapping[int, str]:
        """The place of each in its rung, and how many of the rung go on."""
        self._read(field)
        found = {}
        for rung in self._rungs[:-1]:
            on = self._places(rung, field)
            for place, at in enumerate(rung.order.tolist(), 1):
                if rung.waits(at):
                    found[rung.numbers[at]] = f"at its rung {place - 1} of {rung.count} stood before it, and {on} go on"
        return found

    def _read(self, field: Field) -> None:
        about = (dict(field.objectives), tuple(field.rungs), repr(dict(field.limits)))
        before = self._seen[: len(field.curves)]
        if self._about != about or len(before) < len(self._seen):
            self._about, self._seen = about, []
            self._rungs = [_Ranking(field, self.not_robust) for _ in field.rungs]
            self._trust = [
                Trust(field.objectives) if share == LOOK else Agreement(field.objectives, index)
                for index, share in enumerate(field.rungs)
            ]
        elif all(map(is_, before, field.curves)) and len(before) == len(field.curves):
            return None
        seen = self._seen
        for at, curve in enumerate(field.curves):
            if at == len(seen):
                seen.append(curve)
            elif seen[at] is curve:
                continue
            else:
                if len(seen[at].rungs) > len(curve.rungs) or seen[at].number != curve.number:  # another field
                    self._about = None
                    return self._read(field)
                seen[at] = curve
            for index, rung in enumerate(self._rungs):
                rung.look(curve, index)
            for trust in self._trust[:-1]:
                trust.look(curve)
        return None


class _Ranking:
    """The trials of one rung, the best first.

    Attributes:
        numbers: of those that came to it, in the order in which they were looked at. paused: those that wait there.
        count: of them, and of those that failed on the way to it.
    """

    def __init__(self, field: Field, not_robust: float) -> None:
        self._objectives, self._limits = dict(field.objectives), dict(field.limits)
        self._not_robust = not_robust
        self.numbers: list[int] = []
        self.paused: set[int] = set()
        self._failed: set[int] = set()
        self._at: dict[int, int] = {}
        self._metrics: list[Mapping[str, float]] = []
        self._table = np.zeros((64, 3 + len(self._objectives)))  # misses, whether it has no robustness, order, values
        self._order: Places | None = None
        self._one_dominates = False

    @property
    def count(self) -> int:
        return len(self.numbers) + len(self._failed)

    def waits(self, at: int) -> bool:
        """Whether the trial there is paused at this rung."""
        return self.numbers[at] in self.paused

    def look(self, curve: Curve, index: int) -> None:
        """Takes in a trial. Args: index: of this rung."""
        number, reached = curve.number, curve.rungs[-1].index if curve.rungs else -1
        waits = curve.state == "paused" and reached == index
        (self.paused.add if waits else self.paused.discard)(number)
        fails = curve.state == "failed" and reached == index - 1
        (self._failed.add if fails else self._failed.discard)(number)
        if reached < index:
            return
        rung = next((rung for rung in curve.rungs if rung.index == index), None)
        if rung is None:  # it went to its training without a look
            return
        place = self._at.setdefault(number, len(self.numbers))
        if place < len(self.numbers) and self._metrics[place] is rung.metrics:
            return
        limits = {name: ends for name, ends in self._limits.items() if name in rung.metrics}
        off = sum(missed(shares(rung.metrics, limits)).values())
        bare = ROBUST in self._objectives and rung.metrics[ROBUST] <= self._not_robust
        if place == len(self.numbers):
            self.numbers.append(number)
            self._metrics.append(rung.metrics)
        self._metrics[place] = rung.metrics
        if place == len(self._table):
            self._table = np.concatenate([self._table, np.zeros_like(self._table)])
        self._table[place] = off, bare, rung.order, *minimised([rung.metrics], self._objectives)[0]
        self._order = None

    @property
    def order(self) -> Places:
        """Places among `numbers`, the best first."""
        if self._order is None:
            table = self._table[: len(self.numbers)]
            (off, bare, order), values = table[:, :3].T, table[:, 3:]
            front = _fronts(values, off, bare)
            numbers = np.array(self.numbers, dtype=float)
            self._one_dominates = len(front) > 1 and int((front == 0).sum()) == 1
            self._order = np.lexsort((numbers, order, -crowding(values, front), front))
        return self._order

    @property
    def one_dominates(self) -> bool:
        """Whether the first in the order dominates all others that came."""
        return len(self.order) > 1 and self._one_dominates


def _fronts(values: Array, off: Array, bare: Array) -> Places:
    """[n] numbers of fronts, the best 0: of rows with equal misses, and robust or not, those of a better group before."""
    if not len(off):
        return np.zeros(0, np.int64)
    groups, inverse = np.unique(off + 1j * bare, return_inverse=True)  # complex numbers are sorted by both parts
    if len(groups) == 1:
        return ranks(values)
    found = np.zeros(len(off), np.int64)
    for group in np.flatnonzero(np.bincount(inverse) > 1):
        members = np.flatnonzero(inverse == group)
        found[members] = ranks(values[members])
    return np.asarray(np.unique(inverse + 1j * found, return_inverse=True)[1], dtype=np.int64)


def crowding(values: Array, front: Places) -> Array:
    """[n] crowding distances (Deb et al., IEEE TEC 2002): over objectives, the sum of the distance between both neighbours on
    the front as a share of its range; infinite at either end of an objective. Of equal rows all but the first have 0.

    Args:
        values: [n, m]. front: [n] the number of each row's front.
    """
    found = np.zeros(len(values))
    if not len(values):
        return found
    table = np.column_stack([front, values])
    order = np.lexsort((np.arange(len(table)), *table.T[::-1]))
    first = np.sort(order[np.append(True, (np.diff(table[order], axis=0) != 0).any(1))])
    points, fronts = values[first], front[first]
    spread = np.zeros(len(points))
    for column in points.T:
        order = np.lexsort((column, fronts))
        along, of = column[order], fronts[order]
        begins = np.append(True, of[1:] != of[:-1])
        ends = np.append(begins[1:], True)
        group = np.cumsum(begins) - 1
        wide = (along[ends] - along[begins])[group]
        inside = ~(begins | ends)
        at = np.flatnonzero(inside)
        spread[order[at]] += (along[at + 1] - along[at - 1]) / np.where(wide > 0, wide, 1.0)[at]
        spread[order[~inside]] = np.inf
    found[first] = spread
    return found
