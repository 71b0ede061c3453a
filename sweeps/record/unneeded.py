"""Files of a sweep that nothing will read again: what `python -m sweeps prune` deletes, and a quota that comes near.

A trial that is done needs the state it ended in, and the epoch that was selected; these, whole judgements, tables and the
snapshots that were asked for (`checkpoints.every`) are never touched. What is left is the state before the last one, kept for
a crash in between; whatever was passed over as damaged or left half-written by a process that was killed; and all states of a
trial that ended without completing, which nothing is judged of. Such a trial, retried, begins anew, and one that a spent
budget stopped is not taken up by a larger one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.record.facts import Snapshot, TrialRecord

_BEFORE = ("previous.pt", "damaged.pt")
_STATES = ("last.pt", *_BEFORE, "best-*.pt")
_HALF = ".*.pt.*"


@dataclass(frozen=True)
class Unneeded:
    """A file that may go."""

    path: Path
    size: int  # bytes
    why: str


def unneeded(folder: Path, known: Snapshot) -> Iterator[Unneeded]:
    """What may be deleted of a sweep. Trials that are at work, paused or not begun keep all they have.

    Args:
        folder: the sweep's, whose lock the caller holds. known: its record.
    """
    members = {number for event in known.members for number in event.trials}
    for trial in known.trials:
        if trial.outcome is None:
            continue
        here = folder / "trials" / f"{trial.number:04d}"
        for path, why in _of(trial, here, whole=trial.outcome == "complete" or trial.number in members):
            with contextlib.suppress(OSError):
                yield Unneeded(path, path.stat().st_size, why)


def _of(trial: TrialRecord, here: Path, *, whole: bool) -> Iterator[tuple[Path, str]]:
    if not (here / "last.pt").exists() and whole:
        return  # its end lies in previous.pt, whatever became of the other
    patterns = _BEFORE if whole else _STATES
    why = "with the state before the last" if whole else f"of trials that ended as {trial.outcome}"
    for pattern in patterns:
        for path in sorted(here.glob(pattern)):
            yield path, why
    for path in sorted(here.glob(_HALF)):
        yield path, "half-written by a process that is gone"


def delete(found: Iterable[Unneeded]) -> int:
    """Deletes files, and gives the bytes that are free by that."""
    freed = 0
    for each in found:
        each.path.unlink(missing_ok=True)
        freed += each.size
    return freed
