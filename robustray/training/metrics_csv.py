"""metrics.csv of a trial, written and read: a row per epoch."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from robustray.files import as_csv, write_whole


def write(folder: Path, rows: Sequence[dict[str, float]]) -> None:
    """Writes all rows anew, whole or not at all."""
    write_whole(folder / "metrics.csv", as_csv(rows))


def column(folder: Path, name: str) -> list[float]:
    """One column, of the epochs that have a number there; none where there is no readable file."""
    try:
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as lines:
            return [float(row[name]) for row in csv.DictReader(lines) if row.get(name)]
    except (OSError, ValueError, csv.Error):
        return []
