"""A file that asks workers to stop, wherever they run: on a cluster they share the results with the driver, and no signals.

The file lies in the results folder while a sweep runs. As long as it holds anything, work goes on; once it is empty, workers
stop. Emptied, not written: that works on a full disk too. And it is opened anew at every look, since a network file system
may go on telling for half a minute that a file is or is not there, but asks its server when one is opened.

A second file beside it names the nodes that are about to leave: workers there stop as well, and their jobs go on elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from robustray.errors import Paused
from robustray.files import write_whole
from sweeps.running.tasks.base import Report, Task

NAME, LEAVING = ".running", ".leaving"
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
        forget(self.path.parent)
        write_whole(self.path, "emptied to stop the workers of this sweep\n")
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        self._leaving.unlink(missing_ok=True)

    @property
    def _leaving(self) -> Path:
        return self.path.with_name(LEAVING)

    def ask(self) -> None:
        """Asks all workers to stop. Where the file cannot be reached, they stop after their next report: the driver says so."""
        with contextlib.suppress(OSError):  # in a handler of signals
            os.truncate(self.path, 0)

    def release(self, nodes: Iterable[str]) -> None:
        """Asks all workers of some nodes to stop.

        Args:
            nodes: ids of all that are about to leave.
        """
        with contextlib.suppress(OSError):  # those that do not hear of it are lost with their node, and begun again
            write_whole(self._leaving, "\n".join(nodes))


def forget(folder: Path) -> None:
    """Removes both files of a driver that was killed. For who has the folder's lock."""
    for name in (NAME, LEAVING):
        (folder / name).unlink(missing_ok=True)


def released(path: Path, node: str) -> bool:
    """Whether the workers of a node are asked to stop.

    Args:
        path: of the file for all nodes. node: its id, "" where there is none.
    """
    if not node:
        return False
    try:
        return node in path.with_name(LEAVING).read_text(encoding="utf-8").splitlines()
    except OSError:
        return False


def asked(path: Path) -> bool:
    """Whether all workers are asked to stop. One that cannot see the file is not."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size == 0
    except OSError:
        return False


def asking(path: Path, node: str = "") -> Callable[[], bool]:
    """What looks whether workers are asked to stop: all of them, or those of a node.

    Args:
        path: of the file for all nodes. node: the id of the one that this is, where nodes come and go.
    """
    return lambda: asked(path) or released(path, node)


def heeding(task: Task, asks: Callable[[], bool], every: float = EVERY) -> Report:
    """A step of a task, or `PAUSED` where a stop was asked for before it or while it ran and the task could be interrupted.

    Args:
        asks: whether it is asked for. every: seconds between two looks.
    """
    if asks():
        return PAUSED
    over = threading.Event()

    def look() -> None:
        while not over.wait(every):
            if asks():
                task.interrupt()
                return

    threading.Thread(target=look, daemon=True).start()
    try:
        return task.step()
    except Paused:
        return PAUSED
    finally:
        over.set()
