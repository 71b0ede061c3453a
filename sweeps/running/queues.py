"""Work to be placed: what a backend drives, whatever the work is.

A queue is asked for work (`next`), told of progress (`report`) and of the end (`finish`). Backends know nothing else:
training trials and judging them are two queues, and a chain of queues is a queue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal, Protocol

from robustray.errors import DiskFull, UserError
from robustray.plain import plain
from sweeps.running.packing import Share
from sweeps.running.tasks.base import BLOCKED, FULL

Result = Mapping[str, Any]
Verdict = Literal["go", "stop"]


class Signal(Enum):
    """No work just now: WAIT while something running may bring more, DONE when nothing ever will."""

    WAIT = "wait"
    DONE = "done"


WAIT, DONE = Signal.WAIT, Signal.DONE
_ONE_IN = 4  # jobs at work of which one may be of a later queue


@dataclass(frozen=True)
class End:
    """How a job ended, said once: by the worker that did it, or by the backend where the worker could not."""

    outcome: str  # the job's own; `stopped` by the queue; `failed` where its process died
    cause: str | None = None
    result: Result = field(default_factory=dict)  # the last report it gave: metrics, weights, what was broken ...
    device_seconds: float = 0.0  # that it kept its share of the machine, as far as they are known

    def __post_init__(self) -> None:
        """A cause is other people's text on its way to terminal, tables and page: one plain line from here on."""
        if self.cause is not None:
            object.__setattr__(self, "cause", plain(self.cause))

    @classmethod
    def of(cls, report: Result, *, outcome: str | None = None, cause: str | None = None) -> End:
        """The end that a last report tells of.

        Args:
            outcome: in place of the report's own, which counts as failed where it has none.
            cause: where the report names none: one of its own comes before that of an earlier death of its process.
        """
        told = outcome or str(report.get("outcome", "failed"))
        return cls(told, report.get("cause") or cause, dict(report), float(report.get("device_seconds", 0.0)))


@dataclass(frozen=True)
class Job:
    """One piece of work. `work` is plain data and all that a worker process gets."""

    name: str
    number: int  # the trial it belongs to
    work: Mapping[str, Any]


class Queue(Protocol):
    """Where work comes from and its news go to."""

    def next(self) -> Job | Signal:
        """The next piece of work."""
        ...

    def report(self, job: Job, result: Result) -> Verdict:
        """Progress of a job that has not ended; `stop` ends it there. Saying the same twice changes nothing."""
        ...

    def finish(self, job: Job, end: End) -> None:
        """A job has ended."""
        ...


class Primed:
    """A queue whose first answer is already known."""

    def __init__(self, first: Job, queue: Queue) -> None:
        self._first: Job | None = first
        self._queue = queue
        self.report = queue.report
        self.finish = queue.finish

    def next(self) -> Job | Signal:
        first, self._first = self._first, None
        return first if first is not None else self._queue.next()


class Chain:
    """Queues in order: a later one gives work only while the earlier ones have none to give."""

    def __init__(self, *queues: Queue) -> None:
        self._queues = queues
        self._owner: dict[str, Queue] = {}

    def next(self) -> Job | Signal:
        signals = []
        for queue in self._queues:
            found = self._ask(queue)
            if isinstance(found, Job):
                return self._owned(queue, found)
            signals.append(found)
        return WAIT if WAIT in signals else DONE

    def _ask(self, queue: Queue) -> Job | Signal:
        return queue.next()

    def _owned(self, queue: Queue, job: Job) -> Job:
        self._owner[job.name] = queue
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        return self._owner[job.name].report(job, result)

    def finish(self, job: Job, end: End) -> None:
        owner = self._owner.pop(job.name)
        if end.outcome == BLOCKED:
            raise DiskFull(str(end.cause)) if end.result.get(FULL) else UserError(str(end.cause))
        owner.finish(job, end)


class Early(Queue, Protocol):
    """A queue of which some work is worth doing before an earlier queue is through."""

    def early(self) -> Job | None:
        """The next piece of such work; None where there is none just now."""
        ...


class Following(Chain):
    """A chain of which the last queue has work that is worth doing early."""

    def __init__(self, before: Queue, last: Early) -> None:
        super().__init__(before, last)
        self._last = last

    def early(self) -> Job | None:
        job = self._last.early()
        return None if job is None else self._owned(self._last, job)


class Beside(Chain):
    """A chain of two queues of which the second does what is worth doing early beside the first.

    That gets one job in four at most, and always one: the first queue goes on where there is more than one slot.
    """

    def __init__(self, first: Queue, second: Early, pressing: Callable[[], bool] = lambda: False) -> None:
        """Asks nothing yet.

        Args:
            pressing: whether the first queue has work that was begun in an earlier life: that goes before all else.
        """
        super().__init__(first, second)
        self._pressing = pressing
        self._first, self._second = first, second
        self._through = False  # the first queue had nothing left when it was last asked

    def next(self) -> Job | Signal:
        if not self._through and self._room() and (job := self._second.early()) is not None:
            return self._owned(self._second, job)
        return super().next()

    def _ask(self, queue: Queue) -> Job | Signal:
        found = super()._ask(queue)
        if queue is self._first:
            self._through = found is DONE
        return found

    def _room(self) -> bool:
        if self._pressing():
            return False
        beside = sum(owner is self._second for owner in self._owner.values())
        return beside < max(1, (len(self._owner) + 1) // _ONE_IN)


class Looking:
    """A queue that lets somebody look before it is asked for more."""

    def __init__(self, queue: Queue, look: Callable[[], None]) -> None:
        """Args: look: may raise, which ends the sweep as a stop does."""
        self._queue = queue
        self._look = look
        self.report = queue.report
        self.finish = queue.finish

    def next(self) -> Job | Signal:
        self._look()
        return self._queue.next()


class Sized:
    """A queue whose jobs know what they get of a machine: a training its share, which several processes may have between them,
    and all else the part of one. One that runs out of memory beside others is tried again alone.

    Alone means with a whole GPU. One becomes free when nothing more is handed out, so others wait until that job has been
    heard of; then they go on beside it.
    """

    def __init__(self, queue: Queue, share: Share, told: Callable[[str], None], patience: float | None = None) -> None:
        """Looks at `queue`.

        Args:
            share: what every training gets. told: takes a line for the user.
            patience: seconds without a sign of life that a job may always take; None for as many as it likes.
        """
        self._patience = patience
        self._queue = queue
        self._share = share
        self._told = told
        self._beside: set[str] = set()  # jobs at work that share a GPU
        self._again: list[Job] = []
        self._awaited: str | None = None  # a job that was handed out alone, and not heard of so far

    def next(self) -> Job | Signal:
        if self._awaited is not None:
            return WAIT
        if self._again:
            job = self._again.pop(0)
            self._awaited = job.name
            session = f"{job.work.get('session')} alone"  # an attempt that ended by itself is no death of its process
            return self._with(job, self._share.alone(), session=session)
        found = self._queue.next()
        if isinstance(found, Job):
            if self._share.sharers > 1:
                self._beside.add(found.name)
            return self._with(found, self._share)
        return WAIT if self._beside else found  # one of them may have to be tried again

    def report(self, job: Job, result: Result) -> Verdict:
        self._heard(job)
        return self._queue.report(job, result)

    def finish(self, job: Job, end: End) -> None:
        self._heard(job)
        if job.name in self._beside:
            self._beside.discard(job.name)
            if end.outcome == "out_of_memory":
                self._again.append(job)
                self._told(f"{job.name} ran out of memory beside others; it is tried again alone")
                return
        self._queue.finish(job, end)

    def _heard(self, job: Job) -> None:
        if self._awaited == job.name:
            self._awaited = None

    def _with(self, job: Job, share: Share, **more: object) -> Job:
        besides: dict[str, object] = {"besides": dict(share.besides)} if share.besides else {}
        if share.processes > 1:
            share = share if job.work["kind"] == "train" else share.single()
            besides["processes"] = share.processes
        gets = {"cpus": share.cpus, "gpus": share.gpus, "patience": self._patience, **besides}
        return replace(job, work={**job.work, **more, **gets})
