"""Whether work is alive is told by its own steps: what is right for a step of a millisecond and for one of an hour.

Work gives a sign of life after every optimiser step, and at every pass of a model that is judged. One that gave none for
`least` seconds, and for `TIMES` its longest pause so far, will give none any more: a kernel that never returns, a disk that
never answers, a process stopped that others wait for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

TIMES = 20.0
"""A pause so many times as long as the longest before is no pause: a validation among steps, a first shard, are far below."""
LONGEST_LOOK = 5.0
"""Seconds between two looks that count: for what is longer this process was away itself, stopped by Ctrl-Z or asleep."""


class Pulse:
    """Looks after one piece of work from a thread of this process.

    Args:
        least: seconds without a sign of life that are always allowed; None: nothing is looked after.
        hung: what to do with work that hangs, called once with the seconds since its last sign, in that thread.
        clock: seconds that only grow.
    """

    def __init__(
        self, least: float | None, hung: Callable[[float], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._least = least
        self._hung = hung
        self._clock = clock
        self._longest = 0.0
        self._last = 0.0
        self._new = True  # the first sign tells nothing: before it networks are compiled and data is read
        self._over = threading.Event()

    @property
    def patience(self) -> float:
        """Seconds without a sign after which work is taken to hang."""
        return max(self._least or 0.0, TIMES * self._longest)

    @property
    def silent(self) -> float:
        """Seconds since the last sign."""
        return self._clock() - self._last

    def beat(self) -> None:
        """The work is alive."""
        if self._least is None:
            return
        now = self._clock()
        if not self._new:
            self._longest = max(self._longest, now - self._last)
        self._new, self._last = False, now

    def rest(self) -> None:
        """The work gives no signs: nobody looks."""
        self._least = None
        self._over.set()

    def again(self, died: int) -> None:
        """The work is tried again where its process died so often: with twice the patience each time, lest it is only slow."""
        if self._least is not None:
            self._least *= 2.0**died

    def ended(self, within: float) -> bool:
        """Waits for so many seconds whether the step that is looked after ends."""
        return self._over.wait(within)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """A step of the work."""
        if self._least is None:
            yield
            return
        self._last = self._clock()
        self._over = threading.Event()
        threading.Thread(target=self._look, args=(self._over,), daemon=True).start()
        try:
            yield
        finally:
            self._over.set()

    def _looked(self, now: float) -> None:
        """Called at every look."""

    def _look(self, over: threading.Event) -> None:
        before = self._clock()
        while not over.wait(min(1.0, self.patience / 10)):
            if self._least is None:
                return
            now = self._clock()
            if (away := now - before - LONGEST_LOOK) > 0:
                self._last = min(now, self._last + away)
            before = now
            self._looked(now)
            if self.silent > self.patience:
                self._hung(self.silent)
                return
