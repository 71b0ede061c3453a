"""How long a sweep will take yet, from what its trials and judgements have taken so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweeps.standing import SELECTION, TEST
from sweeps.view.activity import Activity, Run
from sweeps.view.overview import Overview
from sweeps.view.tally import Tally

_WEIGHT = 0.1  # of the newest guess of the end


@dataclass(frozen=True)
class Outlook:
    """Device-seconds left, and seconds until the end.

    None where there is nothing to go by yet: before the first epoch, before the first judgement, and for test before its
    size is known, since test is not looked at before the members are fixed.
    """

    training: float | None
    judging: float | None
    test: float | None
    seconds: float | None  # of all that is known
    deriving: float | None = 0.0  # None: what points there will be, or how long one takes, is not known

    @classmethod
    def of(cls, tally: Tally, activity: Activity, overview: Overview, slots: int) -> Outlook:
        """Looks ahead. To be called with the activity's lock held.

        Args:
            slots: jobs that run at a time.
        """
        training, longest = _training(tally, activity, overview)
        deriving = _deriving(tally, activity, overview)
        judging = _judging(tally, overview)
        test = _test(tally, activity, overview)
        seconds = None
        if training is not None:
            known = training + (deriving or 0.0) + (judging or 0.0) + (test or 0.0)
            seconds = max(known / max(1, slots), longest)
        seconds = seconds if seconds is None or math.isfinite(seconds) else None
        return cls(training, judging, test, seconds, deriving)


class Countdown:
    """Smooths guesses of the end: what is shown runs down like a clock, and moves to a new guess bit by bit.

    Where more has become known than before, a guess is not smoothed: it is a guess of something else.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Args: clock: seconds that only grow."""
        self._clock = clock
        self._end: float | None = None
        self._known: tuple[bool, ...] = ()

    def left(self, ahead: Outlook) -> float | None:
        """Seconds to show for what is guessed now."""
        known = tuple(part is not None for part in (ahead.training, ahead.deriving, ahead.judging, ahead.test))
        if known != self._known or ahead.seconds is None:
            self._known, self._end = known, None
        if ahead.seconds is None:
            return None
        now = self._clock()
        end = now + ahead.seconds
        if self._end is None or ahead.seconds <= 0:
            self._end = end
        else:
            self._end += _WEIGHT * (end - self._end)
        return max(0.0, self._end - now)


def _training(tally: Tally, activity: Activity, overview: Overview) -> tuple[float | None, float]:
    """Device-seconds of training left, and those of the trial at work that will take longest."""
    rows, runs = tally.rows, [run for run in activity.runs.values() if run.job.work["kind"] == "train"]
    to_begin = 0.0 if overview.spent is None else max(0.0, overview.budget - overview.spent)
    if not runs and not overview.waiting and not to_begin:
        return 0.0, 0.0
    begun = [run for run in runs if run.result and not run.job.work.get("look")]  # epochs of a look are cheaper
    seconds = float(rows["seconds"].sum()) + sum(_reported(run, "cost_seconds") for run in begun)
    epochs = int(rows["epoch"][rows["timed"]].sum()) + sum(int(_reported(run, "epoch")) for run in begun)
    if epochs <= 0 or seconds <= 0:
        return None, 0.0
    per_epoch = seconds / epochs
    ended = rows["epoch"][(rows["outcome"] > 0) & (rows["epoch"] > 0)]
    wanted = [int(_reported(run, "epochs")) for run in begun]
    usual = float(ended.mean()) if len(ended) else sum(wanted) / len(wanted) if wanted else 0.0
    now = activity.clock()
    lengths = rows["length"][rows["length"] > 0]
    ahead = (
        overview.waiting * usual if overview.spent is None else to_begin * float(lengths.mean() if len(lengths) else 0)
    )
    left = [max(0.0, _left(run, usual) * _per_epoch(run, per_epoch) - (now - run.heard)) for run in runs]
    return sum(left) + ahead * per_epoch, max(left, default=0.0)


def _left(run: Run, usual: float) -> float:
    """Epochs a trial at work has left, of its training or until the rung that it was sent to."""
    end = run.job.work.get("until")
    if not run.result:
        return usual if end is None else float(end)
    return float(end or _reported(run, "epochs")) - _reported(run, "epoch")


def _per_epoch(run: Run, usual: float) -> float:
    """Seconds of its epochs."""
    seconds, epochs = _reported(run, "cost_seconds"), _reported(run, "epoch")
    return seconds / epochs if seconds > 0 and epochs > 0 else usual


def _reported(run: Run, name: str) -> float:
    return float(run.result.get(name, 0.0))


def _deriving(tally: Tally, activity: Activity, overview: Overview) -> float | None:
    """Device-seconds of making points left: each as long as those that are made took."""
    ahead, rows = overview.points, tally.rows
    if ahead.unplanned:
        return None
    if not ahead.waiting and not ahead.running:
        return 0.0
    took = rows["making"][rows["derived"] & (rows["making"] > 0)]
    if not len(took):
        return None
    usual, now = float(took.mean()), activity.clock()
    begun = [run.since for run in activity.runs.values() if run.job.work["kind"] == "derive"]
    return ahead.waiting * usual + sum(max(0.0, usual - (now - since)) for since in begun)


def _judging(tally: Tally, overview: Overview) -> float | None:
    """Device-seconds of judging on the selection set left: what a trial took so far, skipped ones among them."""
    known, rows = overview.judgements, tally.rows
    if known is None:
        return 0.0
    ended = tally.ended
    share = int(np.count_nonzero(rows["eligible"])) / ended if ended else 1.0  # of those that end, so many are judged
    to_decide = (
        known.waiting
        + known.running
        + share * (overview.waiting + overview.training + overview.points.waiting + overview.points.running)
    )
    if to_decide <= 0:
        return 0.0
    here = tally.judging_here(SELECTION)
    skipped = here[rows["skipped"]]
    decided = int(np.count_nonzero(rows["judged"])) + int(np.count_nonzero(skipped))
    if not decided:
        return None
    begun = float(here[~rows["skipped"]].sum())
    return max(0.0, to_decide * float(rows["judge_seconds"].sum() + skipped.sum()) / decided - begun)


def _test(tally: Tally, activity: Activity, overview: Overview) -> float | None:
    """Device-seconds of reading test left: as long per image as members took on the selection set."""
    if overview.judgements is None:
        return 0.0
    unread = [number for place in overview.frontier if not place.tested for number in place.numbers]
    if not unread:
        points = overview.points
        to_come = overview.waiting + overview.training + overview.paused + points.waiting + points.running
        return None if to_come or points.unplanned else 0.0
    wanted = tally.sweep.judge.images.test
    images = wanted if isinstance(wanted, int) else _test_images(tally, activity)
    judged = int(tally.rows["judge_images"].sum())
    if images is None or not judged:
        return None
    per_image = float(tally.rows["judge_seconds"].sum()) / judged
    begun = float(tally.judging_here(TEST)[unread].sum())
    return max(0.0, len(unread) * images * per_image - begun)


def _test_images(tally: Tally, activity: Activity) -> int | None:
    """How many there are, once one model has been judged on them or has begun to be."""
    if tally.rows["tested"].any():
        return int(tally.rows["test_images"][tally.rows["tested"].argmax()])
    return next((standing.images for (_, split), standing in activity.standing.items() if split == TEST), None)
