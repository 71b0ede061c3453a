"""Work to be placed: what a backend drives, whatever the work is.

A queue is asked for work (`next`), told of progress (`report`) and of the end (`finish`). Backends know nothing else:
training trials and judging them are two queues, and a chain of queues is a queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from robustray.errors import UserError
from sweeps.worker import BLOCKED

Result = Mapping[str, Any]
Verdict = Literal["go", "stop"]


class Signal(Enum):
    """No work just now: WAIT while something running may bring more, DONE when nothing ever will."""

    WAIT = "wait"
    DONE = "done"


WAIT, DONE = Signal.WAIT, Signal.DONE


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

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        """A job has ended: with its own `outcome`, `stopped`, or `failed`; `result` is the last one it gave."""
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
            job = queue.next()
            if isinstance(job, Job):
                self._owner[job.name] = queue
                return job
            signals.append(job)
        return WAIT if WAIT in signals else DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return self._owner[job.name].report(job, result)

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        owner = self._owner.pop(job.name)
        if outcome == BLOCKED:
            raise UserError(str(result.get("cause")))
        owner.finish(job, outcome, result, cause)
