"""What a sweep is doing at this moment: the jobs at work, their last reports, and the last events.

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

from sweeps.events import AttackDone, Event, JobBegun, JobEnded, JobHeard
from sweeps.running.nodes import JobResumed, JobReturned
from sweeps.running.queues import Job, Result

EVENTS = 50  # kept to be shown; all are in events.log
_NEWS = 0.2  # weight of the newest epoch in the speed of training


@dataclass
class Run:
    """One job at work."""

    job: Job
    since: float  # seconds of the activity's clock
    heard: float  # when it last reported
    result: Mapping[str, Any] = field(default_factory=dict)  # that report; empty before the first epoch


@dataclass(frozen=True)
class Standing:
    """How far a judgement has come: so many images stand after that attack."""

    attack: str
    standing: int
    images: int


class Activity:
    """A listener. Kept by the driver's thread, read by the one that draws: take `lock` to read more than one thing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: seconds that only grow."""
        self.clock = clock
        self.lock = threading.RLock()
        self.since = clock()
        self.runs: dict[str, Run] = {}  # by the job's name
        self.standing: dict[tuple[int, str], Standing] = {}  # by (trial, split)
        self.judge_seconds: dict[tuple[int, str], float] = {}  # device time of shards judged in this life
        self.news: list[tuple[int, str]] = []  # keys of both, once for every change: readers keep their place in it
        self.events: deque[str] = deque(maxlen=EVENTS)
        self.speed: float | None = None  # training images per second of one trial at work
        self.worked = 0.0  # seconds of jobs that ended
        self.spent = 0.0  # device-seconds of jobs that ended
        self.first: float | None = None  # when the first job began
        self.last = self.since  # when one last ended

    def __call__(self, event: Event) -> None:
        """Something has happened."""
        with self.lock:
            match event:
                case JobBegun(job) | JobResumed(job):
                    now = self.clock()
                    self.first = now if self.first is None else self.first
                    self.runs[job.name] = Run(job, now, now)
                case JobReturned(job):
                    self.runs.pop(job.name, None)
                case JobHeard(job, result):
                    self._heard(job, result)
                case JobEnded(job, end):
                    run = self.runs.get(job.name)
                    self.spent += max(end.device_seconds, 0.0 if run is None else _device_seconds(run))
                    self.worked, self.last = self.worked + end.device_seconds / _processes(job), self.clock()
                    self._ended(job, end.result)
                case AttackDone():
                    standing = Standing(event.attack, event.standing, event.images)
                    self.standing[event.number, event.split] = standing
                    self.news.append((event.number, event.split))

    def busy(self, slots: int) -> float | None:
        """Share of the slots' time, from the first job's start to now or the last one's end, in which jobs worked; in [0, 1].

        The rest is starting processes, handing out, placing, and slots that nothing is left for.
        """
        with self.lock:
            if self.first is None:
                return None
            until = self.clock() if self.runs else self.last
            runs = self.runs.values()
            heard = sum((_number(run.result, "device_seconds") or 0.0) / _processes(run.job) for run in runs)
            unheard = sum(until - run.heard for run in self.runs.values())  # at work since, for all that is known
            span = slots * (until - self.first)
            return min(1.0, (self.worked + heard + unheard) / span) if span > 0 else None

    @property
    def device_seconds(self) -> float:
        """Of all jobs of this life, as the ledger will have them: those at work as far as they were heard of."""
        with self.lock:
            return self.spent + sum(map(_device_seconds, self.runs.values()))

    def line(self, line: str) -> None:
        """A line is shown of what has happened."""
        with self.lock:
            self.events.append(line)

    def _heard(self, job: Job, result: Result) -> None:
        run = self.runs.get(job.name)
        if run is not None:
            self._measure(run.result, result)
            run.result, run.heard = result, self.clock()

    def _ended(self, job: Job, result: Result) -> None:
        run = self.runs.pop(job.name, None)
        if run is not None:
            self._measure(run.result, result)
        seconds = _number(result, "seconds")
        if job.work["kind"] == "judge" and seconds is not None:
            key = job.number, str(job.work["split"])
            self.judge_seconds[key] = self.judge_seconds.get(key, 0.0) + seconds
            self.news.append(key)

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


def _processes(job: Job) -> int:
    """How many processes work on a job, each of which its device-seconds count."""
    return int(job.work.get("processes", 1))


def _number(result: Mapping[str, Any], key: str) -> float | None:
    value = result.get(key)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _device_seconds(run: Run) -> float:
    return _number(run.result, "device_seconds") or 0.0
