"""What a place is where jobs run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from sweeps.running.packing import Machine, Share
from sweeps.running.queues import Queue
from sweeps.running.tasks.base import Report


class Place(Protocol):
    """A place to run jobs."""

    @property
    def described(self) -> str:
        """Where and how many at a time, for the first line."""
        ...

    @property
    def slots(self) -> int:
        """Jobs at a time."""
        ...

    @property
    def dashboard(self) -> str | None:
        """Where its own view is, if it has one."""
        ...

    @property
    def machine(self) -> Machine:
        """A node of it."""
        ...

    def measure(self, work: Mapping[str, Any]) -> Report:
        """Does a piece of work while nothing else runs."""
        ...

    def settle(self, share: Share) -> None:
        """Takes what each job will get."""
        ...

    def run(self, queue: Queue) -> bool:
        """Drives a queue to its end; True if it was interrupted before."""
        ...
