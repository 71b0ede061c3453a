"""This process, one job after another: for tests, for debugging, and where Ray is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustray.stopping import AtOnce, Stops
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, End, Job, Queue
from sweeps.running.tasks.base import Report, Task
from sweeps.running.worker import open_task


class Local:
    """Runs a queue in this process."""

    described = "in this process"
    slots = 1
    dashboard = None

    def __init__(self) -> None:
        self._task: Task | None = None

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

        with Stops(soon) as stops:
            while True:
                job = queue.next()
                if job is DONE:
                    return False
                if not isinstance(job, Job):
                    raise RuntimeError("the queue waits for work, but nothing is running")
                self._task = task = open_task(job.work)
                try:
                    if stops.asked:  # while the queue was thinking
                        return True
                    self._work(queue, job, task)
                except AtOnce:
                    raise
                except (Paused, KeyboardInterrupt):
                    return True
                finally:
                    self._task = None
                if stops.asked:
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
