"""Whether the driver of a sweep is at work, as far as another process can tell.

No lock is taken to find out: a driver that starts at that moment would be refused. On the driver's own machine its process is
looked at, by number and time of start. From any other the beat of `status.json` counts, and clocks are not trusted: where a
status looks old, it is looked at twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import psutil

from sweeps.record import status as statuses
from sweeps.record.status import Status

State = Literal["at work", "silent", "gone", "ended", "stopped", "none"]
"""`silent`: it is there, or may be, but has not written for a while; `gone`: it ended without a word; `none`: there never was
a driver that wrote a status."""
PATIENCE = 15.0
"""Seconds without a beat that mean nothing: a slow disk, a machine that is busy."""


@dataclass(frozen=True)
class Driver:
    """A driver as it looks from here."""

    state: State
    age: float | None  # seconds since its last word by our clock, which may differ from its own
    told: str  # the same in words


def driver(folder: Path, status: Status | None, *, wait: Callable[[float], None] = time.sleep) -> Driver:
    """How the driver is that wrote a status.

    Args:
        folder: of the sweep. status: as it was just read.
        wait: for so many seconds, before a status that looks old is looked at again.
    """
    if status is None:
        return Driver("none", None, "no driver has left a status here")
    age = _age(status, statuses.now())
    if status.phase == "ended":
        return Driver("ended", age, "the sweep has ended")
    if status.phase == "stopped":
        why = f": {status.error}" if status.error else ""
        return Driver("stopped", age, f"stopped in order{why}; the same command goes on")
    who = f"process {status.pid} on {status.host}"
    if status.machine == statuses.here():
        if not _there(status):
            return Driver("gone", age, f"{who} has ended without a word (killed?); the same command goes on")
        if age < _patience(status):
            return Driver("at work", age, f"at work, {who}")
        return Driver("silent", age, f"{who} is there, and has said nothing for {_seconds(age)}")
    if 0 <= age < _patience(status) or _beats(folder, status, wait):
        return Driver("at work", age, f"at work, {who}")
    return Driver("silent", age, f"{who} has said nothing for {_seconds(age)}: killed, or out of reach")


def _beats(folder: Path, status: Status, wait: Callable[[float], None]) -> bool:
    """Whether another status comes while one waits for two of them."""
    wait(min(5.0, 2.5 * status.every))
    again = statuses.read(folder)
    return again is not None and (again.pid, again.begun, again.beat) != (status.pid, status.begun, status.beat)


def _patience(status: Status) -> float:
    return PATIENCE + 3 * status.every


def _there(status: Status) -> bool:
    try:
        process = psutil.Process(status.pid)
        return abs(process.create_time() - status.begun) < 2 and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, ValueError, OverflowError):
        return False


def _age(status: Status, now: datetime) -> float:
    at = status.at if status.at.tzinfo is not None else status.at.replace(tzinfo=now.tzinfo)
    return (now - at).total_seconds()


def _seconds(age: float) -> str:
    return f"{age:.0f} s" if abs(age) < 600 else f"{age / 60:.0f} min" if abs(age) < 7200 else f"{age / 3600:.0f} h"
