"""Policies that are easy to foresee, and a sweep whose trials are paused: what the tests of pausing share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweeps.record import TrialRecord, journal
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

    def places(self, field: Field) -> Mapping[int, str]:
        """Nothing to say."""
        return {}


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

    def places(self, field: Field) -> Mapping[int, str]:
        """By how long each has waited."""
        there = sorted(paused(field), key=lambda curve: curve.rungs[-1].order)
        return {curve.number: f"{place} of {len(there)} waited longer" for place, curve in enumerate(there)}


def paused(field: Field) -> list[Curve]:
    """The trials that may go on."""
    return [curve for curve in field.curves if curve.state == "paused"]


class Killed(BaseException):
    """What a kill is to the driver: nothing is told, nothing is closed."""


class Kills:
    """Kills the driver at its n-th write to the journal, before it or right after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, *, after: bool) -> None:
        write, left = journal._File.append_logs, [number]

        def append(file: journal._File, logs: list[dict[str, Any]]) -> None:
            left[0] -= 1
            if left[0] == 0 and not after:
                raise Killed
            write(file, logs)
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(journal._File, "append_logs", append)


def untimed(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The same but for the time of day."""
    return [replace(trial, started=None, finished=None) for trial in trials]
