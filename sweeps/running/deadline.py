"""A sweep's share of time: `--for 6h` stops it as a signal would, so that it fits the slot of a queue."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from types import TracebackType

from robustray.errors import UserError

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WORDS = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS), re.ASCII)
_SLURM = re.compile(r"(?:(?P<d>\d+)-)?(?P<first>\d+)(?::(?P<second>[0-5]?\d))?(?::(?P<third>[0-5]?\d))?", re.ASCII)
_LONGEST = 366 * 86400  # a timer does not take any number


def seconds(text: str) -> float:
    """Seconds of `6h`, `1h30m`, `1.5h`, `90s`, or as Slurm writes them: `59:30`, `1:30:00`, `2-12`, `2-12:00:00`.

    Slurm's `59:30` are minutes and seconds, its `2-12` days and hours. A bare number has no unit and is refused.

    Raises:
        UserError: it is no time, or not between a second and a year.
    """
    told = text.strip().lower()
    found = _in_words(told) if told else None
    if found is None:
        found = _as_slurm(told)
    if found is None:
        raise UserError(
            f"--for {text!r}: no length of time; write 6h, 30m, 90s, 1h30m, or as Slurm does 1:30:00 or 2-12:00:00"
        )
    if not 1 <= found <= _LONGEST:
        raise UserError(f"--for {text!r}: must be between a second and a year")
    return found


def _in_words(told: str) -> float | None:
    match = _WORDS.fullmatch(told)
    return sum(float(match[unit] or 0) * worth for unit, worth in _UNITS.items()) if match else None


def _as_slurm(told: str) -> float | None:
    match = _SLURM.fullmatch(told)
    if match is None or (match["d"] is None and match["second"] is None):
        return None
    parts = [int(part) for part in (match["first"], match["second"], match["third"]) if part is not None]
    units = (3600, 60, 1) if match["d"] is not None or len(parts) == 3 else (60, 1)
    return int(match["d"] or 0) * 86400 + sum(part * unit for part, unit in zip(parts, units, strict=False))


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
