"""Files that grow by whole lines: what could not be written whole is taken back, and nothing follows it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from pathlib import Path

log = logging.getLogger("sweeps")


class Lines:
    """A file to append lines to, by one writer.

    A disk that fills up takes part of a line. What is left of it is cut off again, for the next line would be glued to it,
    and neither could be read; and since whoever wrote it may take it for written, later ones are refused, with the cause.
    """

    def __init__(self, path: Path, *, guarded: bool = False) -> None:
        """Nothing is opened or made before the first `append`.

        Args:
            guarded: the file has to stay the one that it is now. Where a network file system comes loose, an empty folder lies
                in place of ours, and what is written there is gone once it is back.
        """
        self.path = path
        self._refused: OSError | None = None
        self._guarded = guarded
        self._known: os.stat_result | None = None
        if guarded:
            with contextlib.suppress(FileNotFoundError):
                self._known = path.stat()

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
        make = os.O_CREAT if self._known is None else 0
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | make, 0o666)
        except OSError as error:
            self._refused = self._gone() if isinstance(error, FileNotFoundError) and not make else error
            raise self._refused from None
        try:
            self._check(os.fstat(file))
            self._write(file, text.encode(errors="backslashreplace"), sync)
        finally:
            if self._guarded:
                self._known = os.fstat(file)
            with contextlib.suppress(OSError):  # it was synced where that matters
                os.close(file)

    def _check(self, now: os.stat_result) -> None:
        """Sees whether this is the file that was written before; others may have added to it."""
        before = self._known
        if before is not None and not (os.path.samestat(before, now) and now.st_size >= before.st_size):
            self._refused = self._gone()
            raise self._refused

    def _gone(self) -> OSError:
        return OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self.path))

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
