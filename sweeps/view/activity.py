"""What a sweep is doing at this moment: the jobs at work, what they last said, and the last events.

The record knows what has ended; this knows the rest, and forgets it with the driver.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.running.queues import Job, Result

EVENTS = 50  # kept to be shown; all are in events.log
_NEWS = 0.2  # weight of the newest epoch in the speed of training


@dataclass
class Run:
    """One job at work."""

    job: Job
    since: float  # seconds of the activity's clock
    heard: float  # when it last said something
    result: Mapping[str, Any] = field(default_factory=dict)  # what it said then; empty before the first epoch


@dataclass(frozen=True)
class Standing:
    """How far a judgement has come: so many images stand after that attack."""

    attack: str
    standing: int
    images: int


class Activity:
    """Kept by the driver's thread, read by the one that draws: take `lock` to read more than one thing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: seconds that only grow."""
        self.clock = clock
        self.lock = threading.RLock()
        self.since = clock()
        self.runs: dict[str, Run] = {}  # by the job's name
        self.standing: dict[tuple[int, str], Standing] = {}  # by (trial, split)
        self.judge_seconds: dict[tuple[int, str], float] = {}  # device time of shards judged in this life
        self.events: deque[str] = deque(maxlen=EVENTS)
        self.speed: float | None = None  # training images per second of one trial at work

    def begun(self, job: Job) -> None:
        """A job was handed out."""
        now = self.clock()
        with self.lock:
            self.runs[job.name] = Run(job, now, now)

    def heard(self, job: Job, result: Result) -> None:
        """A job has told how far it is."""
        with self.lock:
            run = self.runs.get(job.name)
            if run is not None:
                self._measure(run.result, result)
                run.result, run.heard = result, self.clock()

    def ended(self, job: Job, result: Result) -> None:
        """A job has ended, with the last thing it said."""
        with self.lock:
            run = self.runs.pop(job.name, None)
            if run is not None:
                self._measure(run.result, result)
            seconds = _number(result, "seconds")
            if job.work["kind"] == "judge" and seconds is not None:
                key = job.number, str(job.work["split"])
                self.judge_seconds[key] = self.judge_seconds.get(key, 0.0) + seconds

    def stands(self, number: int, split: str, standing: Standing) -> None:
        """An attack is through a shard."""
        with self.lock:
            self.standing[number, split] = standing

    def event(self, line: str) -> None:
        """Something was said."""
        with self.lock:
            self.events.append(line)

    def _measure(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """The speed of the epoch between two reports, or of all epochs up to the first."""
        images, seconds = (_number(after, key) for key in ("images", "cost_seconds"))
        if images is None or seconds is None:
            return
        images -= _number(before, "images") or 0.0
        seconds -= _number(before, "cost_seconds") or 0.0
        if images > 0 and seconds > 0:
            speed = images / seconds
            self.speed = speed if self.speed is None else self.speed + _NEWS * (speed - self.speed)


def _number(result: Mapping[str, Any], key: str) -> float | None:
    value = result.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
