"""`disk.quota`: a sweep keeps within so many bytes, or does not begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from robustray.errors import UserError
from sweeps.record import journal, mending, room, unneeded
from sweeps.record.facts import Snapshot
from sweeps.record.record import Record
from sweeps.space import Sweep
from sweeps.space.disk import described

EVERY = 10.0
"""Seconds between two looks at what the folder holds."""
NEAR = 0.9
"""Of the quota, from which on files that nothing reads are deleted."""


def check(sweep: Sweep, folder: Path, *, fresh: bool) -> None:
    """Sees whether the states of all trials that are still to be trained fit beside what is there.

    The states before the last are not counted: of trials that have ended, these may be deleted.

    Args:
        folder: the sweep's, whose lock the caller holds. fresh: what lies there will be renamed.

    Raises:
        UserError: they do not fit; the message says what would.
    """
    if (quota := sweep.disk.quota) is None:
        return
    sweep = sweep.settled()
    there, left = 0, sweep.states()
    if (folder / journal.JOURNAL).exists() and not fresh:
        mending.repair(folder / journal.JOURNAL)
        known = journal.read(folder)
        left = _left(sweep, known)
        there = room.used(folder) - sum(each.size for each in unneeded.unneeded(folder, known))
    each = _of_a_trial(sweep)
    need = there + left * each
    if need > quota:
        more = f" beside {described(there)} that are there" if there else ""
        fit = max(0, int((quota - there) // each))
        raise UserError(
            f"disk.quota is {described(quota)}, but {_of(sweep, left)} of about {described(each)}{more} take {described(need)}"
            f"; raise it, or ask for fewer: {fit} fit"
        )


def _left(sweep: Sweep, known: Snapshot) -> int:
    """Of how many trials there will be states that are not there yet."""
    if not sweep.stopping.pauses:
        return max(0, sweep.states() - sum(trial.outcome is not None for trial in known.trials))
    spent = sum(trial.paid / trial.sent.epochs for trial in known.trials if trial.sent is not None)
    return sweep.states(max(0.0, sweep.trials - spent), sum(trial.paused for trial in known.trials))


def _of(sweep: Sweep, left: int) -> str:
    """So many trials in words: where they are paused, those that wait, and what bounds them."""
    if not sweep.stopping.pauses:
        return f"{left} trials"
    bound = "" if sweep.stopping.keep_paused is not None else ", which stopping.keep_paused bounds,"
    return f"up to {left} trials with those that wait{bound}"


def _of_a_trial(sweep: Sweep) -> int:
    """Bytes of the states that stay of a trial, of the largest there is."""
    from robustray.training import cost

    sizes: dict[str, int] = {}
    for config in sweep.examples():
        if config.script is None:  # what a script keeps is its own
            key = (config.model, config.defense.name, config.optimiser, config.averaging, config.checkpoints)
            sizes[repr(key)] = sizes.get(repr(key)) or cost.kept(config)
    return max(sizes.values(), default=1)


class Quota:
    """Looks at the folder from time to time, while a sweep is at work in it."""

    def __init__(self, record: Record, quota: int | None, say: Callable[[str], None]) -> None:
        """Args: quota: bytes, None for no limit. say: takes a line for the user."""
        self._record = record
        self._quota = quota
        self._say = say
        self._looked: float | None = None

    def look(self, now: float | None = None) -> None:
        """Deletes what nothing will read where the quota is near.

        Args:
            now: seconds of a clock that only grows.

        Raises:
            UserError: the folder holds more than the quota all the same.
        """
        if self._quota is None:
            return
        now = time.monotonic() if now is None else now
        if self._looked is not None and now - self._looked < EVERY:
            return
        self._looked = now
        folder = self._record.folder
        used = room.used(folder)
        if used < NEAR * self._quota:
            return
        freed = unneeded.delete(unneeded.unneeded(folder, self._record.snapshot()))
        if freed:
            self._say(f"near disk.quota: {described(freed)} deleted, of states that nothing would have read")
        if used - freed > self._quota:
            raise UserError(
                f"{folder}: holds {described(used - freed)}, more than disk.quota, {described(self._quota)}; raise it and run "
                "the same command again"
            )
