"""Files that grow by whole lines: what could not be written whole is taken back, and nothing follows it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("sweeps")


class Lines:
    """A file to append lines to, by one writer.

    A disk that fills up takes part of a line. What is left of it is cut off again, for the next line would be glued to it,
    and neither could be read; and since whoever wrote it may take it for written, later ones are refused, with the cause.
    """

    def __init__(self, path: Path, *, guarded: bool = False, made: bool = False) -> None:
        """Nothing is opened or made before the first `append`.

        Args:
            made: the file has been there before, and is not made again.
            guarded: the file has to stay the one that it is now. Where a network file system comes loose, an empty folder lies
                in place of ours, and what is written there is gone once it is back.
        """
        self.path = path
        self._refused: OSError | None = None
        self._guarded = guarded
        self._made = made
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
        make = 0 if self._made or self._known is not None else os.O_CREAT
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | make, 0o666)
        except OSError as error:
            self._refused = self._gone() if isinstance(error, FileNotFoundError) and not make else error
            raise self._refused from None
        self._made = True
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
    """A file of lines that grows beside the record. A disk that takes none of them ends neither it nor the sweep: they wait for
    the next time, and one line says so.
    """

    def __init__(self, path: Path, heading: str = "", say: Callable[[str], None] = log.warning) -> None:
        """Opens it. `heading` comes first in a new one; the torn last line of a killed writer gets its end.

        Args:
            say: takes the line about a disk.
        """
        self.path = path
        self._heading = heading
        self._say = say
        self._lines: Lines | None = None
        self._waiting = ""
        self._made = self._said = False
        self.append("")

    def append(self, text: str) -> None:
        """Adds lines, after those that wait."""
        self._waiting += text
        try:
            before = ""
            if self._lines is None:
                before = self._beginning()
                self._lines = Lines(self.path, made=self._made)
            if before or self._waiting:
                self._lines.append(before + self._waiting)
                self._waiting, self._made = "", True
        except OSError as error:
            self._lines = None
            if not self._said:
                self._said = True
                self._say(f"{self.path}: cannot be written ({error.strerror}); its lines wait until it can")

    def _beginning(self) -> str:
        """What has to come before the next line, in the file as it is now."""
        end = _end(self.path)
        self._made |= bool(end)
        if end:
            return "" if end == b"\n" else "\n"
        return self._heading


def _end(path: Path) -> bytes:
    """The last byte of a file; none where it is empty, or not there."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            return file.read(1)
    except FileNotFoundError:
        return b""
