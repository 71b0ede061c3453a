"""The driver's sign of life: a thread that says once a second what the sweep is at, until the sweep ends."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import psutil

from robustray.disks import told as told_of
from robustray.plain import line
from sweeps.events import Concluded, Event
from sweeps.record import status as statuses
from sweeps.record.journal import JOURNAL
from sweeps.record.status import Phase, Status
from sweeps.view.live import Mood
from sweeps.view.status import status
from sweeps.view.watch import Watch

log = logging.getLogger("sweeps")
EVERY = 1.0
_SHARE = 0.05
"""Of one core, at most, for telling: of a large sweep on a slow disk the pulse is slower."""
_SLOWEST = 60.0
Heard = Callable[[Status], None]


class Pulse:
    """Writes `status.json`, and hands each status to whoever else wants it. A listener, and a context manager.

    What goes wrong is logged once and tried again: no status hurts a sweep.
    """

    def __init__(self, watch: Watch, folder: Path, others: Sequence[Heard] = (), *, every: float = EVERY) -> None:
        """Writes nothing yet.

        Args:
            watch: the sweep looked at. folder: of its results.
            others: are handed every status, in this thread.
        """
        self._watch = watch
        self._hear: list[Heard] = [partial(_put, folder), *others]
        self._failed: set[int] = set()
        self._usual = self._every = every
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._beat = 0
        self._concluded = False
        self._heard = time.monotonic()
        process = psutil.Process()
        self._who = {
            "host": os.uname().nodename,
            "machine": statuses.here(),
            "pid": process.pid,
            "begun": process.create_time(),
        }

    def __call__(self, event: Event) -> None:
        """Something has happened."""
        self._heard = time.monotonic()
        self._concluded |= isinstance(event, Concluded)

    def __enter__(self) -> Pulse:
        self._tell("at work", "at work")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        told = line(error) if isinstance(error, Exception) else None
        self._tell("ended" if self._concluded and error is None else "stopped", "over", told)

    def _run(self) -> None:
        while not self._over.wait(self._every):
            begun = time.monotonic()
            self._tell("at work", "at work")
            self._every = min(_SLOWEST, max(self._usual, (time.monotonic() - begun) / _SHARE))

    def _tell(self, phase: Phase, mood: Mood, error: str | None = None) -> None:
        self._beat += 1
        try:
            told = status(
                self._watch.frame(mood),
                self._watch.snapshot,
                phase,
                error=error,
                beat=self._beat,
                every=self._every,
                quiet=max(0.0, time.monotonic() - self._heard),
                busy=self._watch.activity.busy(self._watch.slots),
                **self._who,
            )
        except Exception:
            self._say_once(-1, "the status could not be made")
            return
        for number, hear in enumerate(self._hear):
            try:
                hear(told)
            except OSError as error:  # a disk or a network: the record decides whether the sweep goes on
                self._say_once(number, f"a status could not be told ({told_of(error)})", trace=False)
            except Exception:
                self._say_once(number, "a status could not be told")

    def _say_once(self, number: int, what: str, *, trace: bool = True) -> None:
        if number not in self._failed:
            self._failed.add(number)
            log.error("%s; the sweep goes on, and it is tried again", what, exc_info=trace)


def _put(folder: Path, status: Status) -> None:
    """Writes a status beside the record: where a network file system came loose, an empty folder lies in the place of ours."""
    if not (folder / JOURNAL).exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / JOURNAL))
    statuses.write(folder, status)
