"""The processes of actors, for tests that kill them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

# Ray's titles: within a call the name that `tune.with_resources` gives our class, between two calls its own name, and from
# the first lines of a step on that of the job: `ray::trial 0007`
_JOB = rb"ray::[a-z]+ \d{4}"
_ACTOR = re.compile(rb"ray::ResourceTrainable|ray::Worker|" + _JOB)
_STEP = re.compile(rb"ray::ResourceTrainable\.train|" + _JOB)


def actors(driver: int) -> list[int]:
    """The processes of all that a driver has."""
    return [pid for pid in _descendants(driver) if _ACTOR.match(_title(pid))]


def kill_actors(driver: int) -> int:
    """Kills all of them at once and returns how many there were."""
    pids = actors(driver)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def at_work(node: int) -> bool:
    """Whether an actor among what a node's process started is in a step of a job."""
    return any(_STEP.match(_title(pid)) for pid in _descendants(node))


def _descendants(pid: int) -> Iterator[int]:
    """All processes that a process started, directly or not."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # ended in the meantime
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
