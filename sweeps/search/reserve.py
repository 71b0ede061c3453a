"""Device time that is spoken for: trials at work, the next one, and judging what there will be."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean

from robustray.judge import Judge
from sweeps.record import Record, TrialRecord
from sweeps.record.ledger import Spent
from sweeps.record.points import derived
from sweeps.space import Sweep
from sweeps.standing import SELECTION

CHEAP = 0.1
"""Until a trial was looked at by the judge: what the first attacks on it take, as a share of its training."""
FULL = 3.0
"""Until one was judged in full: what that takes, in units of the first attacks."""
IN_FULL = 0.33
"""Share of trials that are judged in full, and tested. 7 of 24 were in the sweep that is shipped."""


@dataclass(frozen=True)
class Ahead:
    """Device-seconds to come, for what has begun and one more trial."""

    training: float
    judging: float
    trial: float  # of `training`: the one more, from its beginning to its end, or from the rung at which it waits
    rest: float = 0.0  # beyond: from where trials at work end their jobs to the ends of their trainings

    @property
    def total(self) -> float:
        """All that is to be done."""
        return self.training + self.judging

    @property
    def spoken(self) -> float:
        """All but the training of the one more, where all that is at work comes to its end."""
        return self.total - self.trial + self.rest

    def wall(self, slots: int) -> float:
        """Seconds that it takes on so many slots: at least as long as the one more trial."""
        return max(self.total / max(1, slots), self.trial)


def ahead(
    sweep: Sweep,
    record: Record,
    spent: Spent,
    heard: Mapping[tuple[str, int], float],
    training: Collection[int],
    *,
    test: float,
    waiting: Collection[int] = (),
) -> Ahead | None:
    """What is to come if one more trial is begun, or the one of those that wait gone on with that has least to go; None before
    any trial has completed or come to a rung: nothing is known. Trials at work count as far as they were sent.

        trials: e of them will have been trained, one more than have begun; each takes t to train
        judging: e c + j (f - c) + j f n_test / n_selection, less what was spent on judging

    c is what the first attacks on a trial take, f what judging it in full takes, j how many of the e that is done for.

    Args:
        spent: by the ledger, in all lives.
        heard: by kind and trial, device-seconds of jobs at work, which the ledger does not have yet.
        training: trials that are at work, or to be gone on with.
        test: test images for each image of the selection set.
        waiting: trials that wait at a rung.
    """
    trained = {
        number: spent.by_trial["train", number]
        for number in record.ended()
        if record.trial(number).outcome == "complete" and ("train", number) in spent.by_trial
    }
    paces = {n: pace for n in waiting if (pace := _pace(record.trial(n), spent)) is not None}
    if not trained and not paces:
        return None
    usual = fmean((trained or paces).values())
    left = [
        max(0.0, usual * _sent(record.trial(n)) - spent.by_trial.get(("train", n), 0.0) - heard.get(("train", n), 0.0))
        for n in training
    ]
    one = min((paces.get(n, usual) * (1 - _share(record.trial(n))) for n in waiting), default=usual)
    complete = sum(record.trial(n).outcome == "complete" and not derived(record.trial(n)) for n in record.ended())
    to_end = sum(_sent(record.trial(n)) == 1 for n in training)
    judging = _judging(sweep, record, spent, usual, complete + to_end + 1, test)
    rest = usual * sum(1 - _sent(record.trial(n)) for n in training)
    return Ahead(one + sum(left), judging, one, rest)


def _share(trial: TrialRecord) -> float:
    """The part of its training that is known to be done."""
    return 0.0 if trial.sent is None else trial.trained / trial.sent.epochs


def _sent(trial: TrialRecord) -> float:
    """The part of its training after which its job ends; a look counts as what it costs."""
    if trial.sent is None:
        return 1.0
    return trial.sent.epoch / trial.sent.epochs if trial.sent.look is None else trial.sent.look


def _pace(trial: TrialRecord, spent: Spent) -> float | None:
    """Device-seconds of a whole training, by what a part of it took; None where nothing is known."""
    share, seconds = _share(trial), spent.by_trial.get(("train", trial.number), 0.0)
    return seconds / share if share and seconds else None


def _judging(sweep: Sweep, record: Record, spent: Spent, training: float, trials: int, test: float) -> float:
    judge = sweep.judge
    if judge.trials == "none":
        return 0.0
    full = [judged.seconds for n in record.ended() if (judged := record.judged(n, SELECTION)) is not None]
    first = [
        seconds
        for (kind, n), seconds in spent.by_trial.items()
        if kind == "judge" and record.judged(n, SELECTION) is None
    ]
    each = fmean(first) if first else fmean(full) / FULL if full else CHEAP * training
    in_full = fmean(full) if full else FULL * each
    chosen = trials if judge.trials == "all" else IN_FULL * trials
    wanted = trials * each + chosen * max(0.0, in_full - each) + chosen * in_full * test
    return max(0.0, wanted - sum(spent.by_kind.get(kind, 0.0) for kind in ("judge", "probe")))


def test_images(judge: Judge) -> tuple[int, bool]:
    """How many test images a member of the frontier is judged on, and whether that is a guess: test is not read for it."""
    if isinstance(judge.images.test, int):
        return judge.images.test, False
    count = judge.data.test_images()
    return (2 * judge.data.validation, True) if count is None else (count, False)
