"""Jobs in flight: between a queue, and a backend that does several at a time on nodes that may fail. Knows no Ray."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from robustray.errors import UserError
from sweeps.running.nodes import NodeNews, Nodes
from sweeps.running.queues import DONE, WAIT, End, Job, Queue, Signal
from sweeps.running.returned import Returned
from sweeps.running.watch import hung


class Halt(BaseException):
    """Nothing is at work, and nothing more is begun. A backend's own loop may take an Exception for one of a job's."""


class InFlight:
    """Jobs by the keys that the backend has for them. An error of the queue's ends the sweep as a stop does, in order.

    Attributes:
        jobs: those that were handed out, and have not ended. error: the first of the queue's, or why no node is left.
        stopping: somebody has asked for it. died: a process did, after that and before it had stopped.
    """

    def __init__(
        self,
        queue: Queue,
        nodes: Nodes,
        ask: Callable[[], None] = lambda: None,
        *,
        say: Callable[[str], None] = lambda line: None,
        tell: Callable[[NodeNews], None] = lambda news: None,
    ) -> None:
        """Asks nothing yet.

        Args:
            ask: asks those at work to stop. say: takes a line for the user.
            tell: is told of jobs that go back, wait, and go on.
        """
        self.jobs: dict[str, Job] = {}
        self.error: BaseException | None = None
        self.stopping = False
        self.died = False
        self._queue = queue
        self._nodes = nodes
        self._ask = ask
        self._say = say
        self._returned = Returned(tell)
        self._stopped: set[str] = set()  # by the queue
        self._causes: dict[str, str] = {}
        self._again: list[Job] = []  # those that the backend has given up, and we have not
        self._left: list[Job] = []  # those that stopped as they were asked to: unfinished, on disk as far as they came
        self._drained = False  # the queue has said that nothing more will come
        self._told = False

    @property
    def halting(self) -> bool:
        """Whether nothing more is begun, and a job that stops has not ended."""
        return self.stopping or self.error is not None

    @property
    def left(self) -> int | None:
        """How many jobs there still are; None while the queue may hand out more."""
        return len(self.jobs) + len(self._again) if self._drained or self.halting else None

    @property
    def processes(self) -> int:
        """How many processes are at work, or wait for a place."""
        return sum(int(job.work.get("processes", 1)) for job in self.jobs.values())

    @property
    def through(self) -> bool:
        """Whether all is done."""
        return self._drained and not (self.jobs or self._again or self._left)

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """For what the backend calls: an exception is kept, and those at work are asked to stop."""
        try:
            yield
        except Exception as error:
            if self.error is None:
                self.error = error
                self._ask()

    def stop(self) -> None:
        """Begins nothing more, and asks those at work to stop."""
        self.stopping = True
        self._ask()

    def begin(self, key: str) -> Job | Signal:
        """The next job, which has this key from now on; DONE where there will be none, whatever becomes of the others."""
        if not self.halting:
            with self.guard():
                found = self._next()
                if isinstance(found, Job):
                    self.jobs[key] = found
                return found
        return DONE

    def _next(self) -> Job | Signal:
        if self._again:
            return self._again.pop(0)
        if self._returned.waiting:
            return WAIT  # those go first
        found = DONE if self._drained else self._queue.next()
        if found is DONE:
            self._drained = True
            return WAIT if self.jobs else DONE  # one of them may have to be begun again
        return found

    def progress(self, key: str, report: Mapping[str, Any], node: str) -> bool:
        """Whether a job has to stop after this report.

        Args:
            node: the id of the one that it runs on.
        """
        with self.guard():
            self._nodes.trust(node)
            if self._queue.report(self.jobs[key], report) == "stop" and self.error is None:
                self._stopped.add(key)
                return True
        return self.halting

    def end(self, key: str, report: Mapping[str, Any]) -> None:
        """A job ends.

        Args:
            report: its last; empty where there is none.
        """
        job, cause = self._forget(key)
        self._returned.forget(job.name)
        stopped = key in self._stopped
        if self.halting and not stopped and "outcome" not in report:
            self._left.append(job)  # it was asked to, which is no end of it
            return
        outcome = "stopped" if stopped else report.get("outcome", "failed")
        with self.guard():
            self._queue.finish(job, End.of(report, outcome=outcome, cause=cause if outcome == "failed" else None))

    def give_up(self, key: str) -> None:
        """The backend does not try a job again, which is no end of it."""
        job, _ = self._forget(key)
        (self._left if self.halting else self._again).append(job)

    def _forget(self, key: str) -> tuple[Job, str | None]:
        return self.jobs.pop(key), self._causes.pop(key, None)

    def lose(self, key: str, why: str, *, spared: bool) -> Job:
        """A process is gone, and the backend tries its job again.

        Args:
            spared: that was no fault of the job's.

        Returns:
            The job to be done in its stead.
        """
        why = hung(self.jobs[key].work) or why
        self._causes[key] = why
        self.died |= self.stopping  # whoever was at fault, steps may be lost
        if not self.halting:
            self.jobs[key] = self._returned.take(self.jobs[key], why, spared=spared)
        return self.jobs[key]

    def choose(
        self, at_work: Collection[str], waiting: Collection[str], now: float, free: Callable[[], str]
    ) -> str | None:
        """Which of those that wait gets a place first: one that had a place before.

        Args:
            at_work, waiting: keys. now: seconds of a clock that only grows. free: what the nodes have to give, in words.

        Raises:
            Halt: the sweep ends here. A stop waits for those at work alone: the others have nothing to lose.
        """
        if not self.halting:
            with self.guard():
                self._look(now)
        if self.halting:
            self._wait_for(len(at_work))
            return None
        known = [key for key in waiting if key in self.jobs]
        with self.guard():
            placed = {self.jobs[key].name for key in at_work if key in self.jobs}
            self._returned.look(placed, [self.jobs[key] for key in known], now, free)
        return min(known, key=lambda key: self._returned.rank(self.jobs[key].name), default=None)

    def _look(self, now: float) -> None:
        why = self._nodes.verdict(now)
        if why is not None:
            raise UserError(why)

    def _wait_for(self, count: int) -> None:
        if not count:
            raise Halt
        if not self._told:
            self._told = True
            jobs = "a job ends its" if count == 1 else f"{count} jobs end their"
            more = "; once more stops at once" if self.stopping else ""  # after an error nobody has asked yet
            self._say(f"stopping: {jobs} step{more}")
