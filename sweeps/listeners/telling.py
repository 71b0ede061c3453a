"""Listeners that a sweep can do without: told in a thread of their own, and left out where they fail.

Whatever they call may hang or break: a server that is gone, a disk that is full, a package that changed. The driver hands an
event over and goes on; where a listener falls behind for good, what it cannot take is dropped, and a line says so in the end.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from robustray.plain import line
from sweeps.events import Event
from sweeps.record.status import Status

ROOM = 10_000
"""Things to be told that wait for a slow listener."""
PATIENCE = 20.0
"""Seconds that the end of a sweep waits for it."""
_OVER = object()


class Ear(Protocol):
    """One listener. All of its calls come from one thread."""

    def event(self, event: Event) -> None:
        """Something has happened."""
        ...

    def status(self, status: Status) -> None:
        """What the sweep is at, about once a second."""
        ...

    def close(self) -> None:
        """Nothing more will come."""
        ...


class Aside:
    """An ear in a thread of its own. A context manager; a listener of events, and of statuses by `heard`."""

    def __init__(self, name: str, opened: Callable[[], Ear], say: Callable[[str], None], *, patience: float = PATIENCE):
        """Begins nothing.

        Args:
            name: as a space has it. opened: makes the ear, in its thread. say: takes a line for the user; from any thread.
            patience: seconds that the end waits for what is still to be told.
        """
        self._name = name
        self._opened = opened
        self._say = say
        self._patience = patience
        self._told: queue.Queue[object] = queue.Queue(ROOM)
        self._failed = threading.Event()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name=f"listener {name}", daemon=True)

    def __repr__(self) -> str:
        return f"listener {self._name}"

    def __call__(self, event: Event) -> None:
        self._put(event)

    def heard(self, status: Status) -> None:
        """What the sweep is at: a newer one makes this one needless, so it waits for no room."""
        if self._told.qsize() < ROOM // 2:
            self._put(status)

    def __enter__(self) -> Aside:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        until = time.monotonic() + self._patience
        if not self._failed.is_set():
            with contextlib.suppress(queue.Full):
                self._told.put(_OVER, timeout=self._patience)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._failed.is_set():
            return
        if self._thread.is_alive():
            self._failed.set()
            self._say(f"{self} is not done after {self._patience:g} s, and is left behind")
        elif self._dropped:
            self._say(f"{self} was too slow for {self._dropped:,} events, which it has not seen")

    def _put(self, told: object) -> None:
        if self._failed.is_set():
            return
        try:
            self._told.put_nowait(told)
        except queue.Full:
            self._dropped += 1

    def _run(self) -> None:
        try:
            ear = self._opened()
            while (told := self._told.get()) is not _OVER and not self._failed.is_set():
                if isinstance(told, Status):
                    ear.status(told)
                else:
                    ear.event(told)  # type: ignore[arg-type]
            ear.close()
        except Exception as error:
            if not self._failed.is_set():
                self._failed.set()
                self._say(
                    f"{self} failed and is not told any more; the sweep goes on ({type(error).__name__}: {line(error)})"
                )
