"""Jobs that lost their place: they keep their number and go first, and a slot that waits for long is told of once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from sweeps.running.nodes import PATIENCE, JobResumed, JobReturned, JobWaits, NodeNews
from sweeps.running.queues import Job


class Returned:
    """What waits for a place. Jobs are known by their names."""

    def __init__(self, tell: Callable[[NodeNews], None]) -> None:
        """Args: tell: is told of jobs that go back, wait, and go on."""
        self._tell = tell
        self._order: dict[str, int] = {}  # of those that came back
        self._jobs: dict[str, Job] = {}
        self._count = 0
        self._since: dict[str, float] = {}  # that jobs have waited for a place
        self._told = False

    @property
    def waiting(self) -> bool:
        """Whether a job that had a place waits for another one."""
        return bool(self._order)

    def take(self, job: Job, why: str, *, spared: bool) -> Job:
        """A job has lost its place.

        Args:
            spared: that was no fault of its own: attempts are counted anew.

        Returns:
            The job to be done in its stead.
        """
        self._count += 1
        self._order[job.name] = self._count
        self._jobs[job.name] = job
        self._tell(JobReturned(job, why))
        if not spared:
            return job
        return replace(job, work={**job.work, "session": f"{job.work.get('session')} returned {self._count}"})

    def rank(self, name: str) -> tuple[bool, int]:
        """What comes first: jobs that came back, the longest waiting before others."""
        return name not in self._order, self._order.get(name, 0)

    def forget(self, name: str) -> None:
        """A job has ended."""
        for each in (self._order, self._jobs, self._since):
            each.pop(name, None)

    def look(self, at_work: Collection[str], waiting: Collection[Job], now: float, free: Callable[[], str]) -> None:
        """Looks who has a place now, and who has none for too long.

        Args:
            at_work: names of jobs. waiting: jobs. now: seconds of a clock that only grows.
            free: what the cluster has to give, in words.
        """
        for name in [name for name in self._order if name in at_work]:
            del self._order[name]
            self._tell(JobResumed(self._jobs.pop(name)))
        jobs = {job.name: job for job in waiting}
        self._since = {name: self._since.get(name, now) for name in jobs}
        late = min(self._since, key=self._since.__getitem__, default=None)
        if late is None or now - self._since[late] < PATIENCE:
            self._told = False
        elif not self._told:
            self._told = True
            work = jobs[late].work
            wanted = float(work.get("cpus", 0.0)), float(work.get("gpus", 0.0))
            self._tell(JobWaits(jobs[late], now - self._since[late], *wanted, free()))
