"""The log of a trial: what the `robustray` logger says while a job of it is at work."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

log = logging.getLogger("robustray")


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
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(self.handler)
        log.setLevel(logging.INFO)

    def __exit__(self, *_: object) -> None:
        log.removeHandler(self.handler)
        with contextlib.suppress(OSError):
            self.handler.close()
