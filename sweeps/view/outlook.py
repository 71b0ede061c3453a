"""How long a sweep will take yet, from what its trials and judgements have taken so far."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from sweeps.record import Snapshot
from sweeps.space import Sweep
from sweeps.view.activity import Activity, Run
from sweeps.view.overview import Overview, eligible

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

    @classmethod
    def of(cls, sweep: Sweep, snapshot: Snapshot, activity: Activity, overview: Overview, slots: int) -> Outlook:
        """Looks ahead.

        Args:
            slots: jobs that run at a time.
        """
        with activity.lock:
            training, longest = _training(snapshot, activity, overview)
            judging = _judging(sweep, snapshot, activity, overview)
            test = _test(sweep, snapshot, activity, overview)
        seconds = None
        if training is not None:
            seconds = max((training + (judging or 0.0) + (test or 0.0)) / max(1, slots), longest)
        return cls(training, judging, test, seconds if seconds is None or math.isfinite(seconds) else None)


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
        known = tuple(part is not None for part in (ahead.training, ahead.judging, ahead.test))
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


def _training(snapshot: Snapshot, activity: Activity, overview: Overview) -> tuple[float | None, float]:
    """Device-seconds of training left, and those of the trial at work that will take longest."""
    runs = [run for run in activity.runs.values() if run.job.work["kind"] == "train"]
    if not runs and not overview.waiting:
        return 0.0, 0.0
    told = [
        (trial.metrics["cost_seconds"], trial.epoch) for trial in snapshot.trials if "cost_seconds" in trial.metrics
    ]
    told += [(_told(run, "cost_seconds"), int(_told(run, "epoch"))) for run in runs if run.result]
    seconds, epochs = sum(told_seconds for told_seconds, _ in told), sum(done for _, done in told)
    if epochs <= 0 or seconds <= 0:
        return None, 0.0
    per_epoch = seconds / epochs
    ended = [trial.epoch for trial in snapshot.trials if trial.outcome is not None and trial.epoch]
    wanted = [int(_told(run, "epochs")) for run in runs if run.result]
    usual = sum(ended) / len(ended) if ended else sum(wanted) / len(wanted) if wanted else 0.0
    now = activity.clock()
    left = [max(0.0, _left(run, usual) * _per_epoch(run, per_epoch) - (now - run.heard)) for run in runs]
    return sum(left) + overview.waiting * usual * per_epoch, max(left, default=0.0)


def _left(run: Run, usual: float) -> float:
    """Epochs a trial at work has left."""
    return _told(run, "epochs") - _told(run, "epoch") if run.result else usual


def _per_epoch(run: Run, usual: float) -> float:
    """Seconds of its epochs."""
    seconds, epochs = _told(run, "cost_seconds"), _told(run, "epoch")
    return seconds / epochs if seconds > 0 and epochs > 0 else usual


def _told(run: Run, name: str) -> float:
    return float(run.result.get(name, 0.0))


def _judging(sweep: Sweep, snapshot: Snapshot, activity: Activity, overview: Overview) -> float | None:
    """Device-seconds of judging on the selection set left: what a trial took so far, skipped ones among them."""
    if overview.judgements is None:
        return 0.0
    judged = {number: told.seconds for (number, split), told in snapshot.judged.items() if split == "validation"}
    here = {number: told for (number, split), told in activity.judge_seconds.items() if split == "validation"}
    spent = {**{number: here[number] for number in snapshot.skipped if number in here}, **judged}
    ended = sum(overview.outcomes.values())
    going = len(eligible(sweep, snapshot))  # of those that ended, these are judged; of the rest, as many in a hundred
    share = going / ended if ended else 1.0
    known = overview.judgements
    to_decide = known.waiting + known.running + share * (overview.waiting + overview.training)
    if to_decide <= 0:
        return 0.0
    if not spent:
        return None
    begun = sum(told for number, told in here.items() if number not in spent and number not in snapshot.skipped)
    return max(0.0, to_decide * sum(spent.values()) / len(spent) - begun)


def _test(sweep: Sweep, snapshot: Snapshot, activity: Activity, overview: Overview) -> float | None:
    """Device-seconds of reading test left: as long per image as members took on the selection set."""
    if overview.judgements is None:
        return 0.0
    unread = [number for place in overview.frontier if not place.tested for number in place.numbers]
    if not unread:
        return None if overview.waiting + overview.training else 0.0
    in_full = [told for (_, split), told in snapshot.judged.items() if split == "validation"]
    sizes = [told.images for (_, split), told in snapshot.judged.items() if split == "test"]
    sizes += [told.images for (_, split), told in activity.standing.items() if split == "test"]
    wanted = sweep.judge.images.test
    images = wanted if isinstance(wanted, int) else sizes[0] if sizes else None
    if images is None or not in_full:
        return None
    per_image = sum(told.seconds for told in in_full) / sum(told.images for told in in_full)
    begun = sum(
        told for (number, split), told in activity.judge_seconds.items() if split == "test" and number in unread
    )
    return max(0.0, len(unread) * images * per_image - begun)
