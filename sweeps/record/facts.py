"""What a record says, as types: trials, judgements, members of the frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sweeps.record.constraints import Limits

Outcome = Literal["complete", "stopped", "diverged", "out_of_memory", "failed"]
Origin = Literal["sampled", "replicate", "retry", "imported", "derived", "lost"]
"""Who asked for a trial: the sampler; a setting again with another seed; one that failed, again; another sweep; its parents.

`lost`: a driver that ended before it handed it out, so nobody has worked on it, and its options may not be all there.
"""
BAD_ENDS: tuple[Outcome, ...] = ("failed", "diverged", "out_of_memory")
"""Outcomes that somebody wants to know more of."""
UNFINISHED = ("paused", "running")
"""States of a trial before it has an outcome."""


@dataclass(frozen=True)
class Issued:
    """What a trial is, written down before it is handed out.

    What was sampled, and replicates in its place, count against `search.trials` and move the sampler's seeds on; nothing else.
    """

    params: Mapping[str, Any]  # the value of every searched option that is active
    seed: int | None = None  # of its training; None: as the space says
    fidelity: Mapping[str, Any] = field(default_factory=dict)  # what is cheaper than the space says: epochs, images ...
    origin: Origin = "sampled"
    parents: tuple[int, ...] = ()  # trials that it comes from
    request: str = ""  # whose points a derived one belongs to, by hash

    @property
    def replicate_of(self) -> int | None:
        """The trial whose options it has, with another seed."""
        return self.parents[0] if self.origin == "replicate" else None


@dataclass(frozen=True)
class Rung:
    """What a trial measured when it came to a rung. The first report of a rung counts, later ones change nothing."""

    index: int  # of the rung; the last one is the end of training
    epoch: int
    order: int  # a running number over all trials' rungs and ends, in the order in which they were written down
    metrics: Mapping[str, float]  # by the cheap attack on the selection set; every objective, finite
    seconds: float  # of training, from the beginning
    look: float | None = (
        None  # of a look, which is no part of the training: what it costs, as a share of that; else None
    )

    @property
    def come(self) -> int:
        """Epochs of the trial's training that are done with it."""
        return 0 if self.look is not None else self.epoch

    def whole(self, epochs: int) -> float | None:
        """Seconds of a whole training of so many epochs, by this rung; None where it was not timed."""
        if not self.seconds > 0 or not (self.epoch if self.look is None else self.look) > 0:
            return None
        return self.seconds / self.epoch * epochs if self.look is None else self.seconds / self.look


@dataclass(frozen=True)
class Sent:
    """How far a trial was last sent, written down before it is handed out. Nothing of this where no policy pauses trials."""

    index: int  # of the rung at which it ends its job
    epoch: int  # of that rung
    epochs: int  # of its whole training
    decision: int  # a running number over all trials' sendings
    look: float | None = None  # to a look, of which the epoch is then; its cost as a share of the training. Else None


@dataclass(frozen=True)
class Stop:
    """That a trial was stopped while it waited at a rung, and waits again: a larger budget has taken that back."""

    cause: str  # why it was stopped
    epoch: int  # of its training that were done
    index: int  # of the rung that it waited at
    order: int | None = None  # of the end that was taken back, among rungs and ends


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the record knows it."""

    number: int
    params: Mapping[str, Any]
    outcome: Outcome | None  # None: not finished
    metrics: dict[str, float] = field(default_factory=dict)  # of the checkpoint that counts
    cause: str | None = None  # why it diverged, failed or was stopped
    epoch: int = 0
    feasible: bool = True  # by what is known best of it: as judged, else a bound, else by the cheap attack
    weights: str | None = None  # sha256 of the weights that count
    exact: bool = True  # every resume continued bit for bit
    replicate_of: int | None = None  # the trial whose options it has, with another seed
    started: datetime | None = None
    finished: datetime | None = None
    origin: Origin = "sampled"
    parents: tuple[int, ...] = ()
    request: str = ""
    seed: int | None = None  # of its training; None: as the space says
    violations: Mapping[str, float] = field(default_factory=dict)  # by constraint, how far it is missed, by the same
    rungs: tuple[Rung, ...] = ()  # reached, in order; of a complete trial, the end of training too
    sent: Sent | None = None
    order: int | None = None  # of its end, among rungs and ends
    stops: tuple[Stop, ...] = ()  # ends that were taken back, the first one first
    last: tuple[str, ...] = ()  # lines of its log, where it failed

    @property
    def taken_up(self) -> bool:
        """Whether it was stopped once, and gone on with after that."""
        return bool(self.stops) and self.sent is not None and self.sent.index > self.stops[0].index

    @property
    def paused(self) -> bool:
        """Whether it ended its job at a rung, and may go on: at work is nobody, and nothing is to be made up for."""
        return self.outcome is None and self.sent is not None and self.reached >= self.sent.index

    @property
    def reached(self) -> int:
        """The index of the last rung that was written down; -1 before the first."""
        return self.rungs[-1].index if self.rungs else -1

    @property
    def trained(self) -> int:
        """Epochs of its training that are known to be done."""
        return max([self.epoch, *(rung.come for rung in self.rungs)])

    @property
    def paid(self) -> int:
        """Epochs of its training that are paid for: of one at work as many as it was sent to train."""
        under_way = self.outcome is None and self.sent is not None and self.sent.look is None
        return self.sent.epoch if under_way and self.sent is not None else self.trained

    @property
    def looked(self) -> float:
        """What its look costs as a share of its training, from the moment when it was sent there; 0 where it has none."""
        if self.sent is not None and self.sent.look is not None:
            return self.sent.look
        return next((rung.look for rung in self.rungs if rung.look is not None), 0.0)

    @property
    def looked_only(self) -> bool:
        """Whether all that was measured of it is a look."""
        return bool(self.rungs) and self.rungs[-1].look is not None

    @property
    def looking(self) -> bool:
        """Whether a look at it is being taken, or is to be taken first after a kill."""
        return self.outcome is None and self.sent is not None and self.sent.look is not None and not self.paused

    @property
    def state(self) -> str:
        """Its outcome; before that `paused` or `running`."""
        return self.outcome or ("paused" if self.paused else "running")

    @property
    def setting(self) -> int:
        """The first trial with these options: replicates stand for it, and it for them."""
        return self.number if self.replicate_of is None else self.replicate_of


@dataclass(frozen=True)
class Judged:
    """A finished judgement of one trial on one split."""

    images: int
    clean_correct: float  # images classified correctly; a mean over forward passes where the model is randomised
    robust: float
    version: str
    autoattack: bool
    folder: str  # relative to the sweep's folder
    seconds: float  # device time spent on it
    flags: tuple[str, ...] = ()  # why its numbers cannot be trusted: see robustray.judging.flags.MEANING

    @property
    def clean_accuracy(self) -> float:
        """Fraction of images classified correctly."""
        return self.clean_correct / self.images

    @property
    def robust_accuracy(self) -> float:
        """Fraction of images no attack broke."""
        return self.robust / self.images


@dataclass(frozen=True)
class Skipped:
    """Why a trial was not judged in full: whatever the remaining attacks do, a finished trial is better, or it misses a
    constraint.
    """

    dominator: int | None  # the finished trial; None where a constraint is missed
    after: str  # the last attack that was run on all its images; "" for none
    bound: int  # images not broken so far: no attack can make it more
    clean_correct: int  # classified correctly as they are; a bound where `after` is ""
    images: int
    missed: Mapping[str, float] = field(default_factory=dict)  # by constraint, how far it is missed at best


@dataclass(frozen=True)
class Reached:
    """How far the judging of a trial has come that goes on when all is trained: its cheap attacks are done."""

    after: str  # the last attack that was run on all its images
    bound: int  # images not broken so far: no attack can make it more
    clean_correct: int
    images: int
    flags: tuple[str, ...] = ()  # that show already


@dataclass(frozen=True)
class Members:
    """The frontier's members, fixed in the record before the test set was opened for the new ones among them."""

    event: int
    trials: list[int]
    opened: list[int]
    at: str


@dataclass(frozen=True)
class Snapshot:
    """Everything in a record at one moment."""

    objectives: dict[str, str]
    trials: Sequence[TrialRecord]
    judged: Mapping[tuple[int, str], Judged]  # by (number, split)
    skipped: Mapping[int, Skipped]
    unjudged: Mapping[tuple[int, str], str]  # judging failed, by (number, split): why; tried again in the next life
    members: Sequence[Members]
    settings: Mapping[str, Any]  # decided once and kept: shard sizes ...
    reached: Mapping[int, Reached] = field(default_factory=dict)
    constraints: Limits = field(default_factory=dict)  # what trials are held to; none in folders of before
