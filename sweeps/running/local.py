"""This process, one job after another: for tests, for debugging, and where Ray is not."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, End, Job, Queue
from sweeps.running.worker import Report, Task, open_task


class Local:
    """Runs a queue in this process."""

    described = "in this process"
    slots = 1
    dashboard = None

    @property
    def machine(self) -> Machine:
        """The cores that its one trial may use. Where a GPU does the work, one will do."""
        import torch

        from robustray.processors import cores

        return Machine(1 if torch.cuda.is_available() else cores(), 0)

    def measure(self, work: Mapping[str, Any]) -> Report:
        """Does a piece of work before any queue."""
        return open_task(work).step()

    def settle(self, share: Share) -> None:
        """One job at a time, whatever its share."""

    def run(self, queue: Queue) -> bool:
        """Drives the queue to its end; True if a signal ended it before.

        SIGINT and SIGTERM stop after the optimiser step in flight, with a checkpoint; a second one stops at once.
        """
        from robustray.errors import Paused

        with _Signals() as signals:
            while True:
                job = queue.next()
                if job is DONE:
                    return False
                if not isinstance(job, Job):
                    raise RuntimeError("the queue waits for work, but nothing is running")
                try:
                    with signals.stopping(task := open_task(job.work)):
                        if signals.seen:  # while the queue was thinking
                            return True
                        self._work(queue, job, task)
                except (Paused, KeyboardInterrupt):
                    return True
                if signals.seen:
                    return True

    def _work(self, queue: Queue, job: Job, task: Task) -> None:
        while True:
            result = task.step()
            if result["done"]:
                queue.finish(job, End.of(result))
                return
            if queue.report(job, result) == "stop":
                queue.finish(job, End.of(result, outcome="stopped"))
                return


class _Signals:
    """SIGINT and SIGTERM ask the task at work to stop; the second one interrupts whatever runs."""

    def __init__(self) -> None:
        self.seen = False
        self._task: Task | None = None

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def stopping(self, task: Task) -> Iterator[None]:
        self._task = task
        try:
            yield
        finally:
            self._task = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.seen = not self.seen, True
        if self._task is None and first:
            return  # between two jobs: the loop sees it
        if not first or self._task is None or not self._task.interrupt():
            raise KeyboardInterrupt
