"""The view on a terminal, and a file for everything that would write over it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import SegmentLines
from rich.text import Text

from robustray.stopping import STOPS
from sweeps.view.live import Mood

log = logging.getLogger("sweeps")
_STOPS = set(STOPS)
_USUAL = (80, 24)
_AFTER = 5  # lines that may follow the last frame


def suits(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can be drawn on; TERM=dumb cannot, and NO_COLOR only takes the colours away."""
    return stream.isatty() and Console(file=stream).is_interactive


@contextlib.contextmanager
def output_kept(path: Path) -> Iterator[TextIO | None]:
    """Appends all that this process and its children print to a file, native code included.

    Yields:
        What standard output was, to go on writing to; None where the process has others than the system's (a notebook):
        nothing is kept there.
    """
    if not (_is(sys.stdout, 1) and _is(sys.stderr, 2)):
        yield None
        return
    _flush()
    before = os.dup(1), os.dup(2)
    try:
        with (
            path.open("ab", buffering=0) as file,
            os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="replace", buffering=1) as out,
        ):
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield out
    finally:
        with contextlib.suppress(OSError):  # a full disk; what is left unsaid is said where it goes now
            _flush()
        for saved, number in zip(before, (1, 2), strict=True):
            os.dup2(saved, number)
            os.close(saved)


def _is(stream: Any, number: int) -> bool:
    try:
        return bool(stream.fileno() == number)
    except (AttributeError, OSError, ValueError):
        return False


def _flush() -> None:
    try:
        sys.stdout.flush()
    finally:
        sys.stderr.flush()


class Screen:
    """Draws a frame every second until it is closed; the last one stays. A context manager.

    Nothing that goes wrong in drawing stops a sweep: it is logged, and the frame says so.
    """

    def __init__(self, out: TextIO, frame: Callable[[Mood], RenderableType]) -> None:
        """
        Args:
            out: a terminal.
            frame: makes what to show, given a `Mood`; called from another thread.
        """
        self.mood: Mood = "at work"
        self._out = out
        self._make = frame
        self._console = Console(file=out, highlight=False)
        self._size: tuple[int, int] | None = None
        self._failed = False

    def __enter__(self) -> Screen:
        self._heard, self._told = os.pipe()
        for end in (self._heard, self._told):
            os.set_blocking(end, False)
        self._wakes = threading.current_thread() is threading.main_thread()
        if self._wakes:  # signals have handlers of Ray's and of ours: this hears of them all
            self._before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._frame,
            refresh_per_second=1,
            redirect_stdout=False,  # both go to a file by now
            redirect_stderr=False,
            vertical_overflow="crop",
            transient=True,  # the last frame is another, and shorter
        )
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with contextlib.suppress(OSError):  # a terminal that is gone
                self._live.stop()
                self.mood = "over"
                self._console.print(self._frame(), end="")
        finally:
            if self._wakes:
                signal.set_wakeup_fd(self._before)
            os.close(self._heard)
            os.close(self._told)

    def _frame(self) -> RenderableType:
        try:
            self._listen()
            self._fit()
            height = self._console.height - (_AFTER if self.mood == "over" else 1)
            options = self._console.options.update(height=max(1, height))
            lines = self._console.render_lines(self._make(self.mood), options, pad=False)
            return SegmentLines(lines, new_lines=True)
        except Exception:
            if not self._failed:  # once is enough: there is a frame every second
                self._failed = True
                log.exception("the view could not be drawn")
            return Text("the view could not be drawn; the sweep goes on, see output.log")

    def _listen(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if _STOPS & set(os.read(self._heard, 4096)) and self.mood == "at work":
                self.mood = "stopping"

    def _fit(self) -> None:
        """Follows the terminal's size, and begins on a clean screen after a change: old lines may have been wrapped."""
        columns, rows = os.get_terminal_size(self._out.fileno())
        size = (columns, rows) if columns and rows else _USUAL
        if size != self._size:
            self._console.size = size
            if self._size is not None:
                self._console.control(Control.clear(), Control.home())
            self._size = size
