"""Files that grow by whole lines: what could not be written whole is taken back, and nothing follows it."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

log = logging.getLogger("sweeps")


class Lines:
    """A file to append lines to, by one writer.

    A disk that fills up takes part of a line. What is left of it is cut off again, for the next line would be glued to it,
    and neither could be read; and since whoever wrote it may take it for written, later ones are refused, with the cause.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened or made before the first `append`."""
        self.path = path
        self._refused: OSError | None = None

    def append(self, text: str, *, sync: bool = False) -> None:
        """Adds lines, each with its end, whole or not at all.

        Args:
            text: written in UTF-8; of a name in no encoding, what has none is written as an escape.
            sync: not before it is on the disk does this return.

        Raises:
            OSError: they could not be written, or an earlier one could not. The file ends as it did before.
        """
        if self._refused is not None:
            raise OSError(self._refused.errno, self._refused.strerror, str(self.path)) from self._refused
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            self._refused = error
            raise
        try:
            self._write(file, text.encode(errors="backslashreplace"), sync)
        finally:
            with contextlib.suppress(OSError):  # it was synced where that matters
                os.close(file)

    def _write(self, file: int, data: bytes, sync: bool) -> None:
        before = os.fstat(file).st_size
        try:
            left = memoryview(data)
            while left:  # a disk that is nearly full takes some, and says why only when asked again
                left = left[os.write(file, left) :]
            if sync:
                os.fsync(file)
        except BaseException as error:  # Ctrl-C too, after which more may well be written
            if isinstance(error, OSError):
                self._refused = error
            try:
                os.ftruncate(file, before)
                os.fsync(file)
            except OSError as stuck:  # the next life cuts it off
                self._refused = self._refused or stuck
            raise


class Sheet:
    """A table that grows beside the record. A full disk ends it and not the sweep: one line says so."""

    def __init__(self, path: Path, heading: str) -> None:
        """Opens it. `heading` comes first in a new one; the torn last line of a killed writer gets its end."""
        self._lines: Lines | None = Lines(path)
        there = path.read_bytes() if path.exists() else b""
        if not there:
            self.append(heading)
        elif not there.endswith(b"\n"):
            self.append("\n")

    def append(self, text: str) -> None:
        """Adds lines, as long as that has not failed."""
        if self._lines is None:
            return
        try:
            self._lines.append(text)
        except OSError as error:
            log.warning("%s: no longer written (%s)", self._lines.path, error.strerror)
            self._lines = None
