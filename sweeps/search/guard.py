"""Sees to it that something finishes: a policy may find something better to do than to finish anything."""

from __future__ import annotations

from collections.abc import Collection

from sweeps.frontier import non_dominated
from sweeps.record import Record
from sweeps.record.constraints import missed, shares
from sweeps.space import Sweep


def furthest(sweep: Sweep, record: Record, paused: Collection[int]) -> int | None:
    """The paused trial to go on with where one has to: of those that have come furthest, the first on their frontier to come
    there, those before that keep to the constraints best; None where there is none.
    """
    if not paused:
        return None
    last = {number: record.trial(number).rungs[-1] for number in paused}
    highest = max(rung.index for rung in last.values())
    there = {number: rung for number, rung in last.items() if rung.index == highest}
    measured = {
        name: ends for name, ends in sweep.constraints.items() if all(name in r.metrics for r in there.values())
    }
    outside = {number: sum(missed(shares(rung.metrics, measured)).values()) for number, rung in there.items()}
    least = min(outside.values())
    points = {number: rung.metrics for number, rung in there.items() if outside[number] == least}
    return min(non_dominated(points, sweep.objectives), key=lambda number: there[number].order)
