"""The files that a paused trial goes on from: whether they are there, and the one place where a sweep deletes any."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from robustray.files import from_json
from sweeps.storage.fetching import ELSEWHERE

_LAST = ("last.pt", "previous.pt")
_STATES = (*_LAST, "best-*.pt")


def kept(folder: Path) -> bool:
    """Whether there is a state to go on from, here or where a worker brings it from.

    Args:
        folder: the trial's.
    """
    if any((folder / name).is_file() for name in _LAST):
        return True
    with suppress(OSError, ValueError, TypeError, KeyError):
        return any(Path(name).name in _LAST for name in from_json((folder / ELSEWHERE).read_text("utf-8"))["files"])
    return False


def drop(folder: Path) -> None:
    """Deletes the checkpoints of a trial that was stopped for good. What it measured, and its log, stay.

    Args:
        folder: the trial's.
    """
    for pattern in _STATES:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)
