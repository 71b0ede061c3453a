"""A file that asks workers to stop, wherever they run: on a cluster they share the results with the driver, and no signals.

The file lies in the results folder while a sweep runs. As long as it holds anything, work goes on; once it is empty, workers
stop. Emptied, not written: that works on a full disk too. And it is opened anew at every look, since a network file system
may go on telling for half a minute that a file is or is not there, but asks its server when one is opened.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from robustray.errors import Paused
from robustray.files import write_whole
from sweeps.running.tasks.base import Report, Task

NAME = ".running"
EVERY = 0.2
"""Seconds between two looks."""
PAUSED: Report = {"paused": True, "done": True, "training_iteration": 0}
"""In place of a report: the job stopped because it was asked to. It stays unfinished, and loses nothing."""


class StopFile:
    """The driver's side. A context manager: the file is there while the block runs."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: a sweep's own."""
        self.path = (folder / NAME).absolute()

    def __enter__(self) -> StopFile:
        write_whole(self.path, "emptied to stop the workers of this sweep\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def ask(self) -> None:
        """Asks all workers to stop. Where the file cannot be reached, they stop after their next report: the driver says so."""
        with contextlib.suppress(OSError):  # in a handler of signals
            os.truncate(self.path, 0)


def asked(path: Path) -> bool:
    """Whether a worker is asked to stop. One that cannot see the file is not."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == 0
    except OSError:
        return False


def heeding(task: Task, path: Path) -> Report:
    """A step of a task, or `PAUSED` where a stop was asked for before it or while it ran and the task could be interrupted."""
    if asked(path):
        return PAUSED
    over = threading.Event()

    def look() -> None:
        while not over.wait(EVERY):
            if asked(path):
                task.interrupt()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        return task.step()
    except Paused:
        return PAUSED
    finally:
        over.set()
