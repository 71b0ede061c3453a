"""Jobs that are answered instead of worked on, on a clock of their own: searches over tables, thousands of trials a minute.

The search and the judging are driven as they are on Ray: many slots, jobs that end in any order, reports on the way.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, End, Job, Queue
from sweeps.running.tasks.base import Report

Answers = Callable[[Job], Iterator[tuple[float, Report]]]
"""What a job reports, each with the seconds it took since the one before; the last has `done: True` and an `outcome`."""


class Simulated:
    """A place with so many slots, where time passes only as the answers say."""

    dashboard = None

    def __init__(self, answers: Answers, slots: int = 1) -> None:
        """Args: answers: to each job. slots: jobs at a time."""
        self.slots = slots
        self.described = f"{slots} at a time, simulated"
        self.machine = Machine(slots, 0)
        self.now = 0.0
        """Seconds of its clock."""
        self._answers = answers

    def measure(self, work: Mapping[str, Any]) -> Report:
        """Nothing to measure: one slot, one thread."""
        return {
            "outcome": "complete",
            "done": True,
            "training_iteration": 1,
            "trials": self.slots,
            "device_seconds": 0.0,
        }

    def settle(self, share: Share) -> None:
        """Slots are given."""

    def run(self, queue: Queue) -> bool:
        """Drives the queue to its end; nothing interrupts it.

        Raises:
            RuntimeError: the queue waits for work, but nothing is running.
        """
        order = itertools.count()  # of events at the same moment
        ahead: list[tuple[float, int, Job, Report, Iterator[tuple[float, Report]]]] = []

        def push(job: Job, answers: Iterator[tuple[float, Report]], spent: float) -> None:
            seconds, report = next(answers)
            told = {**report, "device_seconds": spent + seconds}
            heapq.heappush(ahead, (self.now + seconds, next(order), job, told, answers))

        while True:
            while len(ahead) < self.slots:
                found = queue.next()
                if isinstance(found, Job):
                    push(found, self._answers(found), 0.0)
                    continue
                if not ahead:
                    if found is DONE:
                        return False
                    raise RuntimeError("the queue waits for work, but nothing is running")
                break
            self.now, _, job, report, answers = heapq.heappop(ahead)
            if report["done"]:
                queue.finish(job, End.of(report))
            elif queue.report(job, report) == "stop":
                queue.finish(job, End.of(report, outcome="stopped"))
            else:
                push(job, answers, float(report["device_seconds"]))
