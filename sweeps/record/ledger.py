"""Where device time went: a line per job that ended, in all lives of the driver.

`ledger.csv` in the sweep's folder: when (UTC), kind of work, trial, outcome, device-seconds, the job's name. Only the driver
appends to it. It is no part of the record: a sweep goes on without it, and folders of before have none.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from sweeps.record.lines import Sheet

FILE = "ledger.csv"
_COLUMNS = ("at", "kind", "trial", "outcome", "device_seconds", "job")


@dataclass
class Spent:
    """Device-seconds by what they were spent on."""

    by_kind: dict[str, float] = field(
        default_factory=lambda: defaultdict(float)
    )  # train, derive, judge, probe, measure
    by_trial: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))  # by kind and number

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.by_kind.values())

    def add(self, kind: str, number: int, seconds: float) -> None:
        """Takes in what a job cost."""
        self.by_kind[kind] += seconds
        self.by_trial[kind, number] += seconds


def read(folder: Path) -> Spent | None:
    """What was spent on a sweep; None where it has no ledger. A line that is torn or no number is passed over."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    spent = Spent()
    for line in text.splitlines():  # each alone: a quotation mark in a torn one must not take the next with it
        try:
            (row,) = csv.reader([line])
            _, kind, number, _, seconds, _ = row
            spent.add(kind, int(number), float(seconds))
        except (ValueError, csv.Error):  # torn, the heading, or longer than a line of a table may be
            continue
    return spent


class Ledger:
    """The driver's hand on the ledger. A context manager.

    A disk that takes no lines stops nothing: they wait, and one line says so.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.spent = read(folder) or Spent()
        self._sheet: Sheet | None = None

    def __enter__(self) -> Ledger:
        self._sheet = Sheet(self.path, _row(_COLUMNS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._sheet = None

    def add(self, work: Mapping[str, Any], name: str, number: int, outcome: str, seconds: float) -> None:
        """A job has ended."""
        self.spent.add(str(work["kind"]), number, seconds)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        if self._sheet is not None:
            self._sheet.append(_row((at, str(work["kind"]), str(number), outcome, f"{seconds:.3f}", name)))


def _row(values: tuple[str, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()
