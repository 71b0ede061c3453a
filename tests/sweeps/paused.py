"""Policies that are easy to foresee, and a sweep whose trials are paused: what the tests of pausing share."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.search.field import Choice, Curve, Field, Resume, Start
from tests.sweeps.small import SPACE

PAUSING = SPACE.replace("trials: 5, seed: 3}", "trials: 3, seed: 3}\nstopping: {name: pareto_halving, rungs: [1, 2]}")


class ToTheEnd:
    """Goes on with what is paused before it begins anything."""

    def choose(self, field: Field) -> Choice:
        """The trial with the lowest number."""
        return next((Resume(curve.number) for curve in paused(field)), Start())

    def given_up(self, field: Field) -> Sequence[int]:
        """None."""
        return ()


class Oldest:
    """Lets so many trials wait at rungs; then the one that has waited longest goes on. What is beyond a bound is given up."""

    def __init__(self, waiting: int = 3, keep: int | None = None) -> None:
        self.waiting, self.keep = waiting, keep
        self.asked: list[Choice] = []

    def choose(self, field: Field) -> Choice:
        """A function of the field alone; what it said is kept for the tests."""
        there = sorted(paused(field), key=lambda curve: curve.rungs[-1].order)
        self.asked.append(Resume(there[0].number) if len(there) >= self.waiting else Start())
        return self.asked[-1]

    def given_up(self, field: Field) -> Sequence[int]:
        """Those with the lowest clean accuracy."""
        there = sorted(paused(field), key=lambda curve: (curve.rungs[-1].metrics["clean_accuracy"], curve.number))
        return () if self.keep is None else [curve.number for curve in there[: max(0, len(there) - self.keep)]]


def paused(field: Field) -> list[Curve]:
    """The trials that may go on."""
    return [curve for curve in field.curves if curve.state == "paused"]
