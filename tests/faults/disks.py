"""File systems that fill up, go away, or take no more: mounted for a round, where that is allowed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.record import JOURNAL
from tests.faults.rounds import CannotBeDone, Refused


def mount(*words: str) -> None:
    """Calls mount. Raises CannotBeDone where it is refused."""
    try:
        done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotBeDone("there is no mount here") from None
    if done.returncode:
        raise CannotBeDone(f"mounting is not allowed here ({done.stderr.strip()})")


def _until_done(*words: str, seconds: float = 10.0) -> None:
    """Calls mount until it is done: a file that is open for writing at this moment is in its way."""
    ends = time.monotonic() + seconds
    while True:
        try:
            mount(*words)
            return
        except CannotBeDone:
            if time.monotonic() > ends:
                raise
            time.sleep(0.005)


def unmount(folder: Path) -> None:
    """Takes away what was mounted last there."""
    subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


@contextmanager
def small(folder: Path, kib: int) -> Iterator[Path]:
    """A file system in memory of so many KiB."""
    folder.mkdir(parents=True, exist_ok=True)
    mount("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        unmount(folder)


def enlarge(folder: Path, kib: int) -> None:
    """Makes room on it."""
    mount("-o", f"remount,size={kib}k", str(folder))


@contextmanager
def absent(folder: Path) -> Iterator[None]:
    """In place of a folder, an empty one: as where a network file system has come loose.

    Raises:
        Refused: something was written there, but for the record's lock, under which it is seen that this is another folder.
    """
    mount("-t", "tmpfs", "tmpfs", str(folder))
    try:
        yield
        found = [path for path in folder.rglob("*") if not path.name.startswith(f"{JOURNAL}.lock")]
    finally:
        unmount(folder)
    if found:
        raise Refused(f"written in the place of what is away: {', '.join(map(str, found))}")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing in a folder can be opened for writing."""
    mount("--bind", str(folder), str(folder))
    try:
        _until_done("-o", "remount,ro,bind", str(folder))
        yield
    finally:
        unmount(folder)
