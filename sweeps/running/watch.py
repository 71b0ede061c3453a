"""A job that hangs is found by its own steps, and ended, so that it goes on from its last checkpoint.

A thread of this process looks (`robustray.pulse`). Where the job keeps that from running (a library that never gives back
Python's lock), a timer of the C library's ends the process some time later, with a trace of where it stood.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from robustray.files import write_whole
from robustray.pulse import LONGEST_LOOK, Pulse
from sweeps.space.durations import said

LATER, MARGIN = 1.25, 20.0
"""By how much the timer that needs no Python is later than the thread: so many times the patience, and seconds on top."""
GONE = 75
"""Exit code of a worker that was ended for it."""
NOTE = ".hung"
ALIVE = ".alive"
SLACK = 10.0
"""Seconds beyond the patience that a frozen worker gets."""
_OUTPUT = 2


class Hung(BaseException):
    """The job at work gives no sign of life. No Exception: nothing that a job raises is taken for it."""


class Watch(Pulse):
    """Looks after one job.

    Args:
        least: seconds without a sign of life that are always allowed; None: nothing is looked after.
        hung: what to do with a job that hangs, called with the seconds since its last sign, in a thread of its own.
        shown: a file by which a driver elsewhere sees that this process itself is not frozen; None for no such file.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        least: float | None,
        hung: Callable[[float], None],
        *,
        shown: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(least, hung, clock=clock)
        self._file = shown
        self._armed = self._shown = 0.0

    def beat(self) -> None:
        super().beat()
        if self._least is not None and self._last - self._armed > ((LATER - 1) * self.patience + MARGIN) / 2:
            self._arm()

    def rest(self) -> None:
        super().rest()
        faulthandler.cancel_dump_traceback_later()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """A step of the job."""
        if self._least is None:
            yield
            return
        with super().at_work():
            self._arm()
            self._show()
            try:
                yield
            finally:
                faulthandler.cancel_dump_traceback_later()

    def _looked(self, now: float) -> None:
        if now - self._shown > self.patience / 4:
            self._show()

    def _arm(self) -> None:
        self._armed = self._last
        faulthandler.dump_traceback_later(LATER * self.patience + MARGIN, exit=True, file=_OUTPUT)

    def _show(self) -> None:
        self._shown = self._clock()
        if self._file is not None:
            with contextlib.suppress(OSError):  # whoever cannot see it does not look at it
                self._file.write_text(f"{self.patience} {self._shown}", encoding="ascii")


def told(silent: float) -> str:
    """What is said of a job that gave no sign for so many seconds."""
    return f"no sign of life for {said(max(1.0, silent))}"


def trace(folder: Path, silent: float) -> None:
    """Writes into the log of a trial's folder where every thread of this process stands."""
    with contextlib.suppress(OSError), (folder / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"{told(silent)}; it stood here:\n")
        log.flush()
        faulthandler.dump_traceback(log)


def leaving(folder: Path) -> Callable[[float], None]:
    """For a worker: it leaves a note in its trial's folder, a trace of where it stood in the log, and ends."""

    def leave(silent: float) -> None:
        trace(folder, silent)
        with contextlib.suppress(OSError):
            write_whole(folder / NOTE, told(silent))
        os._exit(GONE)

    return leave


def hung(work: Mapping[str, Any]) -> str | None:
    """What the worker of a job left that ended because that hung, told once; None where there is nothing of that."""
    path = Path(work.get("folder", "")) / NOTE
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        path.unlink()
    except OSError:
        return None
    return text


class Frozen:
    """The driver's side: which workers do not even look after their jobs, since their whole process stands still."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str, float]] = {}  # what a file said, and for how many seconds it has
        self._looked: float | None = None

    def silent(self, works: Mapping[str, Mapping[str, Any]], now: float) -> dict[str, float]:
        """Seconds since the last sign of those that are frozen. For as long as this process was away itself, nobody was.

        Args:
            works: what is at work, by keys. now: seconds of a clock that only grows.
        """
        passed = min(LONGEST_LOOK, now - self._looked) if self._looked is not None else 0.0
        if self._looked is not None and passed < 1.0:
            return {}
        self._looked, before, self._seen, found = now, self._seen, {}, {}
        for key, work in works.items():
            path = Path(work.get("folder", "")) / ALIVE
            try:
                text = path.read_text(encoding="ascii", errors="replace")
                patience = float(text.partition(" ")[0])
            except (OSError, ValueError):
                continue
            shown, since = before.get(path, (text, 0.0))
            since = since + passed if shown == text else 0.0
            self._seen[path] = text, since
            if since > patience + SLACK:
                found[key] = since
                with contextlib.suppress(OSError):
                    write_whole(path.with_name(NOTE), told(since))
                    path.unlink()
        return found
