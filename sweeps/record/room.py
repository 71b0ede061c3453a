"""Room on the disk that a sweep lies on: how much it takes, and waiting for more."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from robustray.disks import is_full

LEAST = 2**20
"""Bytes that have to be free before a sweep goes on that had no room."""
EVERY = 5.0
"""Seconds between two looks."""


def used(folder: Path) -> int:
    """Bytes of all files in a folder, as far as they are there."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  once for each of many files
    return total


def wanted(folder: Path) -> int:
    """Bytes that a sweep needs to go on: its largest files of state twice, since one is written beside the other."""
    largest = 0
    for path in folder.glob("trials/*/*.pt"):
        with contextlib.suppress(OSError):
            largest = max(largest, path.stat().st_size)
    return LEAST + 2 * largest


def there(folder: Path, count: int) -> bool:
    """Whether so many bytes can be written: they are, since nobody else tells of quotas.

    Raises:
        OSError: of another kind than that there is no room.
    """
    path = folder / f".room.{os.getpid()}"
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, count)
        finally:
            os.close(file)
    except OSError as error:
        if is_full(error):
            return False
        raise
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    return True


def waited(
    folder: Path,
    seconds: float,
    count: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Waits until so many bytes can be written to a folder; False where that takes longer than some seconds."""
    ends = clock() + seconds
    while not there(folder, count):
        left = ends - clock()
        if left <= 0:
            return False
        sleep(min(EVERY, left))
    return True
