"""The log of a trial: what the `robustray` logger says while a job of it is at work.

An entry is a line `TIME LEVEL trial=NUMBER TEXT`, with the time in UTC; further lines of its text begin with two spaces.
"""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path

from robustray.plain import discreet

log = logging.getLogger("robustray")


class _Entry(logging.Formatter):
    """One entry of the file."""

    def __init__(self, trial: str) -> None:
        super().__init__(f"%(asctime)s.%(msecs)03dZ %(levelname)s trial={trial} %(message)s", "%Y-%m-%dT%H:%M:%S")
        self.converter = time.gmtime

    def format(self, record: logging.LogRecord) -> str:
        return discreet(super().format(record)).rstrip().replace("\n", "\n  ")


class _LogFile(logging.FileHandler):
    """A log whose disk may be full: what it cannot take is no reason to end a trial in another way than it did."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # of opening it
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Says nothing: logging would print a trace."""


class logging_to:
    """Sends the `robustray` logger to a file while the block runs. Its folder is not made: without it the storage is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.handler = _LogFile(self.path, delay=True, encoding="utf-8", errors="backslashreplace")
        self.handler.setFormatter(_Entry(self.path.parent.name))
        log.addHandler(self.handler)
        log.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self.handler)
        with contextlib.suppress(OSError):
            self.handler.close()
