"""Writes every device-second into the ledger: of jobs that ended, and of those that were under way when the sweep stopped.

And how long the driver lives.
"""

from __future__ import annotations

from types import TracebackType

from sweeps.events import Event, JobBegun, JobEnded, JobHeard
from sweeps.record.ledger import Ledger
from sweeps.record.lives import Lives
from sweeps.running.queues import Job

INTERRUPTED = "interrupted"


class Accounts:
    """A listener, and a context manager: when it is left, jobs that have not ended are written down as far as they came."""

    def __init__(self, ledger: Ledger, lives: Lives | None = None) -> None:
        """Args: ledger, lives: open."""
        self._ledger = ledger
        self._lives = lives
        self._running: dict[str, tuple[Job, float]] = {}  # by name, with the device-seconds that were last heard of

    @property
    def under_way(self) -> dict[tuple[str, int], float]:
        """By kind and trial, device-seconds of jobs at work, as far as they were heard of."""
        return {(str(job.work["kind"]), job.number): seconds for job, seconds in self._running.values()}

    def __call__(self, event: Event) -> None:
        if self._lives is not None:
            self._lives.beat()
        match event:
            case JobBegun(job):
                self._running[job.name] = job, 0.0
            case JobHeard(job, result):
                self._running[job.name] = job, float(result.get("device_seconds", 0.0))
            case JobEnded(job, end):
                _, heard = self._running.pop(job.name, (job, 0.0))
                self._ledger.add(job.work, job.name, job.number, end.outcome, max(end.device_seconds, heard))

    def __enter__(self) -> Accounts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for job, seconds in self._running.values():
            self._ledger.add(job.work, job.name, job.number, INTERRUPTED, seconds)
        self._running.clear()
