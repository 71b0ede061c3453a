"""Starting the Ray of a sweep's own on a machine that is busy with other things."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil

Started = TypeVar("Started")
TRIES = 3
_SLOW = re.compile(r"timed? ?out|overloaded|dashboard|unavailable|not (?:be )?(?:ready|reached)", re.IGNORECASE)


def started(
    begin: Callable[[bool], Started], package: Path, say: Callable[[str], None], *, tries: int = TRIES
) -> Started:
    """Starts a Ray; where it is not there in the time that it gives itself, its processes are ended and it is tried again.

    Ray's node has 30 s to come up, which no option changes, and a dashboard that is late is an error to it too. A second try
    finds all files in memory, and does without the dashboard.

    Args:
        begin: starts it, with a dashboard or without.
        package: Ray's own folder, by which its processes are told from others. say: takes a line for the user.

    Raises:
        Exception: Ray's own, of the last try, or of one that had another reason than time.
    """
    for left in range(tries - 1, 0, -1):
        before = set(_children(package))
        try:
            return begin(left == tries - 1)
        except Exception as error:
            if not _SLOW.search(str(error)):
                raise
            _end(set(_children(package)) - before)
            say("Ray did not start in its time: the machine is busy; once more")
    return begin(False)


def _children(package: Path) -> Iterator[psutil.Process]:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(str(package) in word for word in child.cmdline()):
                yield child


def _end(processes: set[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
