"""A sweep's share of time: `--for 6h` stops it as a signal would, so that it fits the slot of a queue."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import TracebackType

from robustray.errors import UserError
from sweeps.space import durations


def seconds(text: str) -> float:
    """Seconds of what `--for` is given: see `sweeps.space.durations`.

    Raises:
        UserError: it is no time, or not between a second and a year.
    """
    try:
        return durations.seconds(text)
    except ValueError as error:
        raise UserError(f"--for {text!r}: {error}") from None


class Deadline:
    """Sends this process a SIGTERM when its time is over; `over` tells that from anybody else's. A context manager.

    Both backends take the signal as they take Ctrl-C, so there is no second way to stop.
    """

    def __init__(self, left: float) -> None:
        """Args: left: seconds from now on."""
        self.over = False
        self._ends = time.monotonic() + left

    def left(self) -> float:
        """Seconds until then, 0 when it is over."""
        return max(0.0, self._ends - time.monotonic())

    def __enter__(self) -> Deadline:
        self._timer = threading.Timer(self.left(), self._ring)
        self._timer.daemon = True
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self.over = True
        os.kill(os.getpid(), signal.SIGTERM)
