"""Ctrl-C, SIGTERM and SIGUSR1: the first one asks to stop soon, a later one stops at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""The last is how many batch systems are told to give notice (`sbatch --signal=USR1@120`)."""
SAME = 1.0
"""Seconds after the first within which another one is the same request: `timeout` signals its child and then the group that
the child is in, and some wrappers pass on a Ctrl-C that the terminal has sent to all of them already."""


class AtOnce(KeyboardInterrupt):
    """Stopped before all was on disk, which somebody asked for by a second signal: work goes on from its last checkpoints."""


class Stops:
    """While the block runs, the first of SIGINT, SIGTERM and SIGUSR1 calls `soon`, and one that comes later raises AtOnce.

    A context manager of the main thread; what handled the signals before does so again afterwards.
    """

    def __init__(self, soon: Callable[[], None]) -> None:
        """Args: soon: called in the main thread, between two of its bytecodes; it may raise."""
        self._soon = soon
        self._first: float | None = None
        self._hurried = False

    @property
    def asked(self) -> bool:
        """Whether one has come."""
        return self._first is not None

    def __enter__(self) -> Stops:
        self._before = {number: signal.signal(number, self._handle) for number in STOPS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._hurried and isinstance(error, KeyboardInterrupt) and not isinstance(error, AtOnce):
            raise AtOnce from error  # Ray's own code, woken by a signal, raises one of its own in place of a handler's

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            self._soon()
        elif now - self._first > SAME:
            self._hurried = True
            raise AtOnce


def interrupt() -> None:
    """Raises KeyboardInterrupt: for `Stops` around what has nothing to finish first."""
    raise KeyboardInterrupt


@contextmanager
def unheard() -> Iterator[None]:
    """Processes that are started while the block runs never hear of the signals, nor do those that they start.

    Schedulers send SIGTERM to all processes of a job, and a terminal its Ctrl-C to all of a command: who works for this
    process must end when it says so, not before. A signal that comes meanwhile is handled after the block.
    """
    came: list[int] = []  # to another thread of this process, which blocks nothing
    handlers = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in STOPS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(came[0])
