"""A disk without room stops a sweep in order, as a signal does; where there is room again, it goes on by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from robustray.disks import is_full
from robustray.errors import DiskFull
from sweeps.record import room
from sweeps.space.disk import described
from sweeps.space.durations import said

SOON = 60.0
"""Seconds after which a life that found no room again, though it was told of some, is no reason to go on trying."""


def with_room(
    live: Callable[[], bool],
    folder: Path,
    wait: float | None,
    say: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Runs a life of a sweep; where the disk is full, waits for room and runs another one.

    Args:
        live: a life, which goes on from the record.
        wait: seconds at a time; None: not at all.
        say: takes a line for the user.

    Raises:
        OSError, DiskFull: there was no room, nor any within that time; whatever else a life raises.
    """
    count = 0  # bytes to wait for
    while True:
        begun = clock()
        try:
            return live()
        except (OSError, DiskFull) as error:
            if wait is None or not (is_full(error) or isinstance(error, DiskFull)):
                raise
            count = max(room.wanted(folder), 2 * count if clock() - begun < SOON else 0)
            say(
                f"no space left on the disk of {folder}: nothing is lost; it goes on by itself once {described(count)} are "
                f"free, within {said(wait)} (disk.wait)"
            )
            if not room.waited(folder, wait, count):
                raise
            say("there is room again: it goes on")
