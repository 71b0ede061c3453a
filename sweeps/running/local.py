"""This process, one job after another: for tests, for debugging, and where Ray is not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from robustray.errors import ProcessLost
from robustray.stopping import AtOnce, Stops
from sweeps.running import watch
from sweeps.running.nodes import JobResumed, JobReturned, NodeNews
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, End, Job, Queue
from sweeps.running.tasks.base import Report, Task
from sweeps.running.watch import Hung
from sweeps.running.worker import open_task

_WAKE = signal.SIGUSR2


class Local:
    """Runs a queue in this process.

    A job that hangs is interrupted and begun again, as far as a process can: one that sits in a library's code, and heeds no
    signal there, takes the process along, and the same command goes on. One that lost a process it worked with begins again.
    """

    described = "in this process"
    slots = 1
    dashboard = None

    def __init__(self, tell: Callable[[NodeNews], None] = lambda news: None) -> None:
        """Args: tell: is told of jobs that hang, and are begun again."""
        self._task: Task | None = None
        self._tell = tell
        self._silent: float | None = None  # seconds, of a job that hangs
        self._why: str | None = None  # one has to be begun again that does not hang
        self._waking = False
        self._working = False  # within a step: there alone it may be interrupted

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

        SIGINT and SIGTERM stop after the optimiser step in flight, with a checkpoint, and give up the shard in flight.

        Raises:
            AtOnce: a second one came before that.
        """
        from robustray.errors import Paused

        def soon() -> None:
            if self._task is not None and not self._task.interrupt():
                raise KeyboardInterrupt  # it loses nothing

        with self._interruptible(), Stops(soon) as stops:
            while True:
                job = queue.next()
                if job is DONE:
                    return False
                if not isinstance(job, Job):
                    raise RuntimeError("the queue waits for work, but nothing is running")
                self._task = task = open_task(job.work, self._hung)
                try:
                    if stops.asked:  # while the queue was thinking
                        return True
                    while not self._work(queue, job, task):
                        self._tell(JobReturned(job, self._why or watch.told(self._silent or 0.0)))
                        self._why = None
                        self._task = task = open_task(job.work, self._hung)  # which counts it as an attempt
                        self._tell(JobResumed(job))
                except AtOnce:
                    raise
                except (Paused, KeyboardInterrupt):
                    return True
                finally:
                    self._task = None
                if stops.asked:
                    return True

    def _work(self, queue: Queue, job: Job, task: Task) -> bool:
        """Does a job to its end; False where it hung before."""
        while True:
            try:
                self._working = True
                result = task.step()
            except Hung:
                return False
            except ProcessLost as error:
                self._why = str(error)
                return False
            finally:
                self._working = False
            if result["done"]:
                queue.finish(job, End.of(result))
                return True
            if queue.report(job, result) == "stop":
                queue.finish(job, End.of(result, outcome="stopped"))
                return True

    def _hung(self, silent: float) -> None:
        self._silent, self._waking = silent, True
        signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """A job that hangs can be woken: a system call ends with the signal, and what waits for it raises."""

        def wake(number: int, frame: FrameType | None) -> None:
            waking, self._waking = self._waking, False
            if waking and self._working:  # anybody may send a signal
                raise Hung

        before = signal.signal(_WAKE, wake)
        try:
            yield
        finally:
            signal.signal(_WAKE, before)
