"""`disk.quota`: a sweep keeps within so many bytes, or does not begin."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from robustray.errors import UserError
from sweeps.record import journal, mending, room, unneeded
from sweeps.record.facts import Snapshot
from sweeps.record.record import Record
from sweeps.space import Sweep
from sweeps.space.disk import described

EVERY = 10.0
"""Seconds between two looks at what the folder holds."""
REPORT = 5_200_000
"""Bytes of a report: its page holds what draws its figures."""
AMPLE = 6_000_000_000
"""Bytes of a trial that are more than any published network takes: with so much room for each, nobody has to look."""
PLENTY = 12
"""Times a trial's weights that are more than what is kept of it: the last state, with averages and moments, and judgements."""
SHARD, VERDICT = 2400, 9
"""Bytes of a file of verdicts, and of each image in it: compressed, since most answers are alike."""
TESTED = 0.33
"""Share of trials that come to test."""
EXAMPLES, LARGEST = 14, 400_000
"""Bytes per pixel of the images that an attack has broken, which are kept to be shown, and the most that they take."""
NEAR = 0.9
"""Of the quota, from which on files that nothing reads are deleted."""


def check(sweep: Sweep, folder: Path, *, fresh: bool) -> str | None:
    """Sees whether the states, verdicts and report of all trials that are still to be trained fit beside what is there.

    The states before the last are not counted: of trials that have ended, these may be deleted.

    Args:
        folder: the sweep's, whose lock the caller holds. fresh: what lies there will be renamed.

    Returns:
        A warning where there is no quota and the disk has less room than that; None where it has.

    Raises:
        UserError: they do not fit the quota; the message says what would.
    """
    sweep = sweep.settled()
    quota, left, known = sweep.disk.quota, sweep.states(), None
    if (folder / journal.JOURNAL).exists() and not fresh:
        mending.repair(folder / journal.JOURNAL)
        known = journal.read(folder)
        left = _left(sweep, known)
    if quota is None:
        return _room(sweep, folder, left)
    there = REPORT
    if known is not None:
        report = room.used(folder / "report")
        there += room.used(folder) - report - sum(each.size for each in unneeded.unneeded(folder, known))
    each = _of_a_trial(sweep)
    need = there + left * each
    if need > quota:
        more = f" beside {described(there)} of a report and what is there"
        fit = max(0, int((quota - there) // each))
        raise UserError(
            f"disk.quota is {described(quota)}, but {_of(sweep, left)} of about {described(each)}{more} take {described(need)}"
            f"; raise it, or ask for fewer: {fit} fit"
        )
    return None


def _room(sweep: Sweep, folder: Path, left: int) -> str | None:
    """What to say where the disk has less room than trials take. Where it has plenty, no trial is built to find out."""
    free = shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free
    if free > left * AMPLE + REPORT or free > left * PLENTY * (_largest(sweep, cost_of="weights") + 200_000) + REPORT:
        return None
    need = REPORT + left * _of_a_trial(sweep)
    if need <= free:
        return None
    return (
        f"{folder}: {_of(sweep, left)} take about {described(need)}, and {described(free)} are free; where the disk is full "
        "the sweep waits (disk.wait); free some, ask for fewer, or have fewer states kept"
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
    """Bytes that stay of a trial, of the largest there is: states, and verdicts of the attacks that are run on it."""
    return _largest(sweep, cost_of="kept") + judgements(sweep)


def judgements(sweep: Sweep) -> int:
    """Bytes of a trial's verdicts: all attacks on validation, and on test as often as trials come to it."""
    judge = sweep.judge
    if judge.trials == "none":
        return 0
    rows = len(judge.lists()[0])
    test = judge.images.test
    if not isinstance(test, int):
        test = judge.data.test_images() or 2 * judge.data.validation
    tested = 1.0 if judge.trials == "all" else TESTED
    pixels = int(np.prod(judge.data.load("validation").images.shape[1:]))
    files = 1 + len(judge.attacks)
    of_a_split = files * SHARD + len(judge.attacks) * min(EXAMPLES * pixels, LARGEST)
    return round(of_a_split * (1 + tested) + VERDICT * files * (rows + tested * test))


def _largest(sweep: Sweep, *, cost_of: Literal["kept", "weights"]) -> int:
    """The largest of all kinds of trials that the space has."""
    from robustray.training import cost

    sizes: dict[str, int] = {}
    for config in sweep.examples():
        if config.script is None:  # what a script keeps is its own
            key = repr((config.model, config.defense.name, config.optimiser, config.averaging, config.checkpoints))
            if cost_of == "weights":
                key = repr(config.model)
            sizes[key] = sizes.get(key) or (cost.kept(config) if cost_of == "kept" else cost.weights(config))
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
