"""What happens in a sweep, as typed events, and who is told.

The search, the judging and the queues say what has happened; a console, a live view, a metrics exporter, a logger are
listeners. Nothing here knows any of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sweeps.record.facts import Judged, Members, Reached, Rung, Skipped, TrialRecord
from sweeps.running.nodes import NodeNews
from sweeps.running.queues import End, Job, Queue, Result, Signal, Verdict

log = logging.getLogger("sweeps")


@dataclass(frozen=True)
class Said:
    """Something for the user to read, not tied to a moment (`timed`: with the time of day)."""

    line: str
    timed: bool = False


@dataclass(frozen=True)
class Concluded:
    """How the sweep ended, in a line that is shown in any case."""

    line: str


@dataclass(frozen=True)
class Placed:
    """It is known where jobs run."""

    described: str
    slots: int
    dashboard: str | None


@dataclass(frozen=True)
class JobBegun:
    """A job was handed out."""

    job: Job


@dataclass(frozen=True)
class JobHeard:
    """A job has told how far it is."""

    job: Job
    result: Result


@dataclass(frozen=True)
class JobEnded:
    """A job has ended."""

    job: Job
    end: End


@dataclass(frozen=True)
class BudgetLeft:
    """What is spent of the budgets, in a line; said when something was."""

    line: str


@dataclass(frozen=True)
class TrialEnded:
    """A trial has an outcome, in the record already."""

    trial: TrialRecord
    done: int  # trials that have ended
    wanted: int
    spent: float | None = None  # whole trainings that are paid for, where they are counted, and not trials
    budget: int = 0  # of them, in all


@dataclass(frozen=True)
class TrialPaused:
    """A trial has come to a rung, in the record already. It may go on later."""

    trial: TrialRecord
    rung: Rung
    epochs: int  # of its whole training


@dataclass(frozen=True)
class PointEnded:
    """A derived point has an outcome, in the record already."""

    trial: TrialRecord
    parents: tuple[str, ...]  # in a word each
    seconds: float | None  # that its making took, its parents' training apart
    found: str  # what its maker found out; "" for nothing
    done: int  # points that have ended
    wanted: int


@dataclass(frozen=True)
class AttackDone:
    """An attack is through a shard: so many images of the split stand."""

    number: int
    split: str
    attack: str
    standing: int
    images: int


@dataclass(frozen=True)
class TrialJudged:
    """A trial has been judged in full on a split."""

    number: int
    split: str
    judged: Judged
    missed: Mapping[str, float] = field(default_factory=dict)  # by constraint, how far it is missed there


@dataclass(frozen=True)
class JudgingSkipped:
    """A trial needs no further judging."""

    number: int
    skipped: Skipped


@dataclass(frozen=True)
class JudgingReached:
    """The cheap attacks on a trial are done; the rest waits until all is trained."""

    number: int
    reached: Reached


@dataclass(frozen=True)
class JudgingResumed:
    """What was better than a trial does not stand any more: its judging goes on."""

    number: int


@dataclass(frozen=True)
class JudgingFailed:
    """A trial could not be judged."""

    number: int
    split: str
    cause: str


@dataclass(frozen=True)
class MembersFixed:
    """The frontier is in the record; test may be read for `members.opened`."""

    members: Members
    settings: int  # on the frontier; the trials of one are replicates


Event = (
    Said
    | Concluded
    | Placed
    | JobBegun
    | JobHeard
    | JobEnded
    | BudgetLeft
    | TrialEnded
    | TrialPaused
    | PointEnded
    | AttackDone
    | TrialJudged
    | JudgingSkipped
    | JudgingReached
    | JudgingResumed
    | JudgingFailed
    | MembersFixed
    | NodeNews
)
Listener = Callable[[Event], None]


class Bus:
    """Tells every listener, in order. One that fails is logged and not told again: no listener hurts a sweep."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)

    def add(self, listener: Listener) -> None:
        """From now on it is told as well."""
        self._listeners.append(listener)

    def __call__(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception as error:
                log.error(
                    "%r failed and is not told any more (%s)", listener, error, exc_info=not isinstance(error, OSError)
                )
                self._listeners.remove(listener)


class Watched:
    """A queue whose jobs are events."""

    def __init__(self, queue: Queue, tell: Listener) -> None:
        """Looks at `queue`."""
        self._queue = queue
        self._tell = tell

    def next(self) -> Job | Signal:
        job = self._queue.next()
        if isinstance(job, Job):
            self._tell(JobBegun(job))
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        self._tell(JobHeard(job, result))
        return self._queue.report(job, result)

    def finish(self, job: Job, end: End) -> None:
        self._tell(JobEnded(job, end))
        self._queue.finish(job, end)
