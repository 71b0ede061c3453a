"""One driver at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from robustray.errors import UserError


class FolderLock:
    """The right to write a sweep's folder, held by one driver at a time and freed by the system when it dies.

    The lock lies beside the folder, so that it also covers the folder's being renamed.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock.

        Raises:
            UserError: another driver has it, or there can be no such folder.
        """
        folder = folder.absolute()
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            self._file = (folder.parent / f".{folder.name}.lock").open("a+")
        except OSError as error:
            raise UserError(
                f"{folder.parent}: no folder for results can be here ({error.strerror}); see --results"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise UserError(
                f"{folder}: another driver{f' ({holder})' if holder else ''} is at work on this sweep"
            ) from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {os.uname().nodename}\n")
        self._file.flush()

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives it back."""
        self._file.close()
