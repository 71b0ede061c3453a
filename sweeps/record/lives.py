"""How long a sweep has been at work, over all lives of its driver.

`lives.csv` in the sweep's folder: the life, when (UTC), and how many seconds it had lasted then. Like the ledger it is no part
of the record: a sweep goes on without it, and folders of before have none.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from sweeps.record.lines import Sheet

FILE = "lives.csv"
EVERY = 60.0
"""Seconds between two lines. A life that is killed counts as far as its last one."""
_HEADING = "life,at,seconds\n"


def read(folder: Path) -> float:
    """Seconds that a sweep has been at work, 0 where it has no such file. A line that is torn or no number is passed over."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    longest: dict[str, float] = {}
    for line in text.splitlines():
        try:
            ((life, _, seconds),) = csv.reader([line])
            longest[life] = max(longest.get(life, 0.0), float(seconds))
        except (ValueError, csv.Error):  # torn, the heading, or longer than a line of a table may be
            continue
    return sum(longest.values())


class Lives:
    """The driver's hand on the file. A context manager: a life lasts as long as its block.

    A disk that takes no lines stops nothing: they wait, and one line says so.
    """

    def __init__(self, folder: Path, life: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: life: names this one. clock: seconds that only grow."""
        self.path = folder / FILE
        self._life = life
        self._clock = clock
        self._before = read(folder)
        self._since: float | None = None
        self._written = 0.0
        self._sheet: Sheet | None = None

    @property
    def seconds(self) -> float:
        """Of all lives so far."""
        return self._before + self._lasted

    @property
    def _lasted(self) -> float:
        return 0.0 if self._since is None else self._clock() - self._since

    def __enter__(self) -> Lives:
        self._since, self._sheet = self._clock(), Sheet(self.path, _HEADING)
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._write()
        self._before, self._since, self._sheet = self.seconds, None, None

    def beat(self) -> None:
        """The driver is at work: written down from time to time."""
        if self._since is not None and self._lasted - self._written >= EVERY:
            self._write()

    def _write(self) -> None:
        self._written = self._lasted
        at = datetime.now(UTC).isoformat(timespec="seconds")
        if self._sheet is not None:
            self._sheet.append(f"{self._life},{at},{self._written:.3f}\n")
