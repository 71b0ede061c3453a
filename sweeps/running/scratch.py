"""A folder of a worker's own, for trials of a sweep whose folder its node does not see. It is gone when the process is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from pathlib import Path

from sweeps.storage.layout import set_of
from sweeps.storage.sets import Stamp, look

PREFIX = "robustray-far-"
_REMOVES = 'exec 3<&0; (cat <&3 >/dev/null; rm -rf -- "$0") &'
"""Waits until the process has ended that holds the other end of the pipe, in a grandchild of it: Ray ends the children of its
workers first."""
_KEPT = 2
"""Jobs whose trials stay: the stages of a judgement come in a row."""


class Scratch:
    """The folder of one process, shaped like a folder of results, and what in it the other side has as it is.

    The folder is locked for as long as the process lives, so that nobody tidies up in it, and whoever finds one that is not
    knows that it is left over. Another process removes it, however this one ends.

    Attributes:
        folder: what stands for the sweep's. mine: stamps of files that the other side has. theirs: its stamps of them.
    """

    def __init__(self, name: str, within: Path | None = None) -> None:
        """Makes it, and removes those that others have left.

        Args:
            name: of the sweep's folder. within: where; the system's place for temporary files, where none is given.

        Raises:
            OSError: there is no room, or no right to.
        """
        base = within or Path(tempfile.gettempdir())
        clear(base)
        self._root, self._lock = _made(base)
        with subprocess.Popen(  # noqa: S603
            ["/bin/sh", "-c", _REMOVES, str(self._root)],
            stdin=(ours := os.pipe())[0],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a signal to a group of processes must not end it first
            cwd="/",
        ):
            os.close(ours[0])
        self._alive = ours[1]
        self.folder = self._root / name
        for each in ("trials", "judgements"):
            (self.folder / each).mkdir(parents=True)
        self.mine: dict[str, Stamp] = {}
        self.theirs: dict[str, Stamp] = {}
        self._jobs: list[tuple[str, ...]] = []

    def has(self) -> dict[str, Stamp]:
        """Stamps of the other side, of files that are here as they are there."""
        here, _ = look(self.folder)
        return {name: stamp for name, stamp in self.theirs.items() if self.mine[name] == here.get(name)}

    def same(self, mine: dict[str, Stamp], theirs: dict[str, Stamp]) -> None:
        """Files are on both sides as they are."""
        for name in mine.keys() & theirs.keys():
            self.mine[name], self.theirs[name] = mine[name], theirs[name]

    def forget(self, names: Collection[str]) -> None:
        """Files are not on both sides, or not as they are."""
        for name in names:
            self.mine.pop(name, None)
            self.theirs.pop(name, None)

    def keep(self, sets: tuple[str, ...]) -> None:
        """A job begins that needs these sets of files: what neither it nor the job before needed is removed."""
        self._jobs = [*self._jobs[1 - _KEPT :], sets]
        wanted = {set_of(within) for each in self._jobs for within in each}
        for within in {set_of(name) for name in look(self.folder)[0]} - wanted - {""}:
            shutil.rmtree(self.folder / within, ignore_errors=True)
            self.forget([name for name in self.mine if name.startswith(within)])

    def close(self) -> None:
        """Removes it."""
        shutil.rmtree(self._root, ignore_errors=True)
        for each in (self._alive, self._lock):
            os.close(each)


def clear(base: Path) -> None:
    """Removes the folders of this user's processes that were ended with their node: nobody holds their locks."""
    for path in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(lock).st_uid == os.getuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def _made(base: Path) -> tuple[Path, int]:
    while True:
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        with contextlib.suppress(FileNotFoundError):  # somebody tidied up before it was locked
            lock = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if root.is_dir() and os.fstat(lock).st_ino == root.stat().st_ino:
                return root, lock
            os.close(lock)
