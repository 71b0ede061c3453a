"""The files that a paused trial goes on from, where only so many are to be kept: the one place where a sweep deletes any."""

from __future__ import annotations

from pathlib import Path

_STATES = ("last.pt", "previous.pt", "best-*.pt")


def drop(folder: Path) -> None:
    """Deletes the checkpoints of a trial that was stopped for good. What it measured, and its log, stay.

    Args:
        folder: the trial's.
    """
    for pattern in _STATES:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
