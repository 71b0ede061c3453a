"""What a policy sees of a search: how far every trial has come, and what was measured on the way.

All of it is in the record, so a decision that is a function of it is the same after a kill, and on a clock of a simulation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Literal, Protocol

from sweeps.record.constraints import Limits
from sweeps.record.facts import Rung as Rung

State = Literal["running", "paused", "complete", "stopped", "failed"]
"""`running`: at work, or to be gone on with first after a kill. `paused`: it ended a job at a rung, and may go on.
`stopped`: paused once, and never to go on. `failed`: diverged, out of memory, or broken.
"""


@dataclass(frozen=True)
class Curve:
    """One trial."""

    number: int
    params: Mapping[str, object]
    state: State
    epochs: int  # of its whole training
    rungs: tuple[Rung, ...] = ()  # reached, in order
    until: int = 0  # the index of the rung that it was last sent to
    final: Mapping[str, float] | None = None  # of a complete trial, what is known best: judged over bound over cheap
    judged: Mapping[str, float] | None = None  # of a complete trial that was judged in full and not flagged: accuracies
    seed: int | None = None  # of its training; replicates differ in it alone
    replicate_of: int | None = None  # the trial whose options it has

    @property
    def share(self) -> float:
        """The part of its training that is done, by what was written down."""
        if self.state == "complete":
            return 1.0
        return self.rungs[-1].come / self.epochs if self.rungs else 0.0

    @property
    def seconds(self) -> float | None:
        """Of its whole training, by the first report of it, else by a look; None before."""
        timed = next((rung for rung in self.rungs if rung.look is None), self.look)  # a look tells it less well
        return None if timed is None else timed.whole(self.epochs)

    @property
    def look(self) -> Rung | None:
        """What a cheap look at its setting measured, the first of its rungs; None where none was taken."""
        return self.rungs[0] if self.rungs and self.rungs[0].look is not None else None


@dataclass(frozen=True)
class Field:
    """All trials of a search at one moment.

    Attributes:
        curves: by number; entries are replaced as news come, those that have not changed are the same objects.
        objectives: name to `max` or `min`.
        limits: what a trial must keep to. Limits of objectives are the region of interest: what lies outside is no gain.
        rungs: shares of training after which a trial ends a job, rising, 1 the last. 0 where the first is a cheap look, taken
            before training begins.
        decisions: taken before this one: moves the random numbers on.
        spent: whole trainings that have been paid for, in epochs: a trial that is halfway counts a half, and its look besides.
        budget: whole trainings that may be paid for.
        seconds: of device time that training may still take besides what is spoken for, where a budget is of time or money.
        seed: of the search.
    """

    curves: Sequence[Curve]
    objectives: Mapping[str, str]
    rungs: Sequence[float]
    limits: Limits = field(default_factory=dict)
    decisions: int = 0
    spent: float = 0.0
    budget: float = math.inf
    seconds: float = math.inf
    seed: int = 0

    @cached_property
    def whole(self) -> float:
        """Seconds of a whole training, in the mean over those that were timed; nan before any was."""
        timed = [seconds for curve in self.curves if (seconds := curve.seconds) is not None]
        return fmean(timed) if timed else math.nan

    @property
    def closing(self) -> bool:
        """Whether so little time is left that a trial that begins now would not come to its end."""
        return self.seconds < math.inf and self.seconds < self.whole


@dataclass(frozen=True)
class Start:
    """Begin a trial, to its first rung; of the sampler's choosing where `params` is None."""

    params: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Resume:
    """Go on with a paused trial, to its next rung only."""

    number: int


@dataclass(frozen=True)
class Nothing:
    """Nothing is worth doing now; asked again when something has been reported."""


Choice = Start | Resume | Nothing


class Policy(Protocol):
    """Decides what a free worker does next. A pure function of the field: what it remembers only saves time."""

    def choose(self, field: Field) -> Choice:
        """The next piece of work, asked whenever a worker is free and the budget is not spent."""
        ...

    def given_up(self, field: Field) -> Sequence[int]:
        """Paused trials that will never go on: they count as stopped from now on, and their last state may go."""
        ...

    def places(self, field: Field) -> Mapping[int, str]:
        """Where paused trials stand, in words: what goes on before each. Of those of which there is nothing to say, nothing."""
        ...
