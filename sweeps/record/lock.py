"""One driver at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import uuid
from pathlib import Path
from typing import IO

import psutil

from robustray.errors import UserError
from sweeps.record.journal import JOURNAL

INSIDE = ".lock"
"""The lock within a folder: the same file by whatever path the folder is reached."""
_HELD = (errno.EAGAIN, errno.EACCES)
_NOT_HERE = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
_HOLDER = re.compile(r"process (\d+) on (.*), begun (\d+)")


class FolderLock:
    """The right to write a sweep's folder, held by one driver at a time and freed by the system when it dies.

    There are two files. One lies beside the folder, so that it also covers the folder's being renamed; symbolic links are
    followed to it. The other lies inside, for a folder that is mounted in two places.

    Where the file system knows no locks (some NFS, Lustre and FUSE mounts), a file that only one process can make stands for
    one. It outlives a driver that is killed: on the same machine the next driver sees that the process is gone, on another it
    says which file to remove.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            UserError: another driver has it, or there can be no such folder.
        """
        self._files: list[IO[str]] = []
        self._marks: list[Path] = []
        try:
            real = folder.resolve()
            real.parent.mkdir(parents=True, exist_ok=True)
        except (OSError, RuntimeError) as error:  # a link to itself is either, by version of Python
            why = getattr(error, "strerror", None) or error
            raise UserError(f"{folder.parent}: no folder for results can be here ({why}); see --results") from None
        self._take(folder, real.parent / f".{real.name}{INSIDE}")
        if (real / JOURNAL).exists():  # nothing is put into a folder of something else
            self.cover(real)

    def cover(self, folder: Path) -> None:
        """Takes the lock inside a folder too, once it is there; a second time changes nothing.

        Raises:
            UserError: another driver has it, by another path.
        """
        path = folder / INSIDE
        with contextlib.suppress(FileNotFoundError):
            there = path.stat()
            if any(os.path.samestat(there, os.fstat(file.fileno())) for file in self._files):
                return
        self._take(folder, path)

    def _take(self, folder: Path, path: Path) -> None:
        try:
            file = path.open("a+", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self.close()
            raise UserError(f"{path}: cannot be written ({error.strerror}); see --results") from None
        self._files.append(file)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            try:
                if error.errno in _HELD:
                    raise UserError(f"{folder}: another driver{_told(path)} is at work on this sweep") from None
                if error.errno not in _NOT_HERE:
                    raise UserError(f"{path}: cannot be locked ({error.strerror}); see --results") from None
                self._mark(folder, path.with_name(f"{path.name}.held"))
            except BaseException:
                self.close()
                raise
        with contextlib.suppress(OSError):  # a full disk: it is held all the same, and nobody will know by whom
            file.truncate(0)
            file.write(_myself())
            file.flush()

    def _mark(self, folder: Path, path: Path) -> None:
        """What stands for a lock where there are none: whoever makes the file has it."""
        while True:
            try:
                made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            except FileExistsError:
                if not _gone(path):
                    raise UserError(
                        f"{folder}: another driver{_told(path)} is at work on this sweep, or was killed: locks are not "
                        f"supported on this file system; if it is no longer at work, remove {path}"
                    ) from None
                aside = path.with_name(f"{path.name}.{uuid.uuid4()}")
                with contextlib.suppress(FileNotFoundError):  # somebody else was faster
                    path.rename(aside)
                    aside.unlink()
                continue
            except OSError as error:
                raise UserError(f"{path}: cannot be written ({error.strerror}); see --results") from None
            self._marks.append(path)
            with os.fdopen(made, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(_myself())
            return

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives it back."""
        for mark in self._marks:
            with contextlib.suppress(OSError):
                mark.unlink()
        for file in self._files:
            with contextlib.suppress(OSError):  # what could not be written is not missed
                file.close()
        self._files, self._marks = [], []


def _myself() -> str:
    begun = int(psutil.Process().create_time())
    return f"process {os.getpid()} on {os.uname().nodename}, begun {begun}\n"


def _told(path: Path) -> str:
    """Who holds a lock, for a message; nothing where that is not known."""
    with contextlib.suppress(OSError):
        if holder := path.read_text(encoding="utf-8", errors="replace").strip():
            return f" ({holder.partition(',')[0]})"
    return ""


def _gone(path: Path) -> bool:
    """Whether the process that made a mark is known to be gone: it was on this machine, and is there no more."""
    try:
        found = _HOLDER.match(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return False
    if found is None or found[2] != os.uname().nodename:
        return False
    try:
        return abs(psutil.Process(int(found[1])).create_time() - int(found[3])) > 2
    except psutil.NoSuchProcess:
        return True
