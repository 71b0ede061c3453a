"""How far all trials of a record are, as a policy sees it; kept up to date trial by trial, however many there are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

from sweeps.record import Record, Rung, TrialRecord
from sweeps.search import warm_start
from sweeps.search.field import Curve, Field, State
from sweeps.search.looks import LOOK, Looks
from sweeps.space import Sweep
from sweeps.space.stopping import rung_epochs
from sweeps.standing import SELECTION, known

_NO_CURVES = ("derived", "lost")
_STATES: dict[str, State] = {"complete": "complete", "stopped": "stopped", "paused": "paused", "running": "running"}


class Progress:
    """The field of a sweep. `look` takes in what is new of a trial: nothing else is looked at again."""

    def __init__(self, sweep: Sweep, record: Record) -> None:
        """Reads the record."""
        self.sweep = sweep
        self.record = record
        self._lengths = {trial.schedule.epochs for trial in sweep.examples()}  # of trainings, or the ends of a range
        self.looks = None if sweep.fidelity is None else Looks(sweep, sweep.fidelity)
        looks = () if self.looks is None else (LOOK,)
        self.rungs = (*looks, *sweep.stopping.shares(max(self._lengths)))
        self.paused: set[int] = set()
        self.running: set[int] = set()
        self.complete = 0
        self._unbuilt = 0  # draws that nothing could be built of: they were decided, and never sent
        self._curves: list[Curve] = warm_start.curves(record, max(self._lengths))
        self._places: dict[int, int] = {}  # number -> place among the curves
        self._paid: Counter[int] = Counter()  # by the length of trainings: epochs that have been paid for
        self._done: Counter[int] = Counter()  # likewise: that are known to have been trained
        self._counted: dict[int, tuple[int, int]] = {}  # both, by trial
        self._looked: dict[
            int, tuple[Fraction, Fraction]
        ] = {}  # whole trainings that looks are, likewise: paid for, and done
        self._looks = Fraction(0), Fraction(0)  # over all trials
        self._finished_at = Fraction(0)  # what had been done when a trial completed last
        for trial in record.trials():
            self.look(trial.number)
        self._recall()

    def epochs(self, number: int) -> int:
        """The length of a trial's whole training."""
        trial = self.record.trial(number)
        if trial.sent is not None:
            return trial.sent.epochs
        if len(self._lengths) > 1 and trial.outcome is None:
            return self.sweep.trial_config(trial.params).schedule.epochs
        return max(self._lengths)

    def following(self, number: int) -> tuple[int, int]:
        """The rung of its training that a trial goes to next, and its epoch: that after the last one it came to, the last of
        those that fall on the same epoch. A replicate goes to the end.
        """
        if self.record.trial(number).origin == "replicate":  # of a setting that is known to be worth it
            return len(self.rungs) - 1, self.epochs(number)
        first = 0 if self.looks is None else 1
        every, reached = rung_epochs(self.rungs[first:], self.epochs(number)), self.record.trial(number).reached - first
        come = every[reached] if reached >= 0 else 0
        epoch = next(epoch for epoch in every if epoch > come)
        return first + max(index for index, each in enumerate(every) if each == epoch), epoch

    def to_look(self, number: int) -> bool:
        """Whether what a trial goes to next is a look at it."""
        trial = self.record.trial(number)
        return self.looks is not None and trial.reached < 0 and trial.origin != "replicate"

    def look(self, number: int) -> None:
        """Takes in what the record has of a trial by now."""
        trial = self.record.trial(number)
        if trial.origin in _NO_CURVES:
            return
        place = self._places.setdefault(number, len(self._curves))
        before = self._curves[place] if place < len(self._curves) else None
        curve = self._curve(trial)
        if before is None:
            self._curves.append(curve)
        elif before != curve:
            self._curves[place] = curve
        for state, numbers in (("paused", self.paused), ("running", self.running)):
            (numbers.add if curve.state == state else numbers.discard)(number)
        newly = before is None or before.state != curve.state
        self._unbuilt += newly and trial.sent is None and curve.state == "failed"
        self.complete += newly and curve.state == "complete"
        self._pay(trial, before, curve)

    @property
    def spent(self) -> Fraction:
        """Whole trainings that have been paid for: a trial at work counts as far as it was sent. An exact sum, in any order."""
        return _whole(self._paid) + self._looks[0]

    def field(self, seconds: float = math.inf) -> Field:
        """As a policy sees it now. Args: seconds: of device time that training may still take."""
        return Field(
            curves=self._curves,
            objectives=self.sweep.objectives,
            limits=self.sweep.constraints,
            rungs=self.rungs,
            decisions=self.record.sent + self._unbuilt,
            spent=float(self.spent),
            budget=float(self.sweep.trials),
            seconds=seconds,
            seed=self.sweep.search.seed,
        )

    @property
    def dry(self) -> bool:
        """Whether no trial has completed in a quarter of the budget of which little is left: a fourth, or as much as `through`
        says, up to a half.

        Where every free worker goes on with what has come furthest from then on, one completes before the quarter is over, if
        a half of it is no less than `through`, and none diverges; else within `through` of its half.
        """
        quarter, done = Fraction(self.sweep.trials, 4), self._all_done
        begin = quarter * (done // quarter)
        left = min(max(quarter / 4, through(self.rungs, len(self.running) + 1)), quarter / 2)
        return self._finished_at <= begin and done >= begin + quarter - left

    def _curve(self, trial: TrialRecord) -> Curve:
        number, done = trial.number, trial.outcome == "complete"
        final = exact = None
        if done:
            judged, skipped = self.record.judged(number, SELECTION), self.record.skipped(number)
            final = known(trial, judged, skipped, self.record.reached(number)).values
            if judged is not None and not judged.flags:
                exact = {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
        return Curve(
            number=number,
            params=trial.params,
            state=_STATES.get(trial.state, "failed"),
            epochs=self.epochs(number),
            rungs=_without_gaps(trial.rungs, 0 if self.looks is None else 1),
            until=0 if trial.sent is None else trial.sent.index,
            final=final,
            judged=exact,
            seed=trial.seed,
            replicate_of=trial.replicate_of,
        )

    def _pay(self, trial: TrialRecord, before: Curve | None, curve: Curve) -> None:
        """Counts the epochs of a trial, in place of what was counted before."""
        number, length = trial.number, curve.epochs
        paid, done = (0, 0) if trial.sent is None else (trial.paid, trial.trained)
        then_paid, then_done = self._counted.get(number, (0, 0))
        self._counted[number] = paid, done
        self._paid[length] += paid - then_paid
        self._done[length] += done - then_done
        if trial.looked:
            then, look = self._looked.get(number, (Fraction(0), Fraction(0))), _exact(trial.looked)
            self._looked[number] = look, Fraction(0) if trial.looking else look
            paid_now, done_now = (now - each for now, each in zip(self._looked[number], then, strict=True))
            self._looks = self._looks[0] + paid_now, self._looks[1] + done_now
        if before is not None and before.state != curve.state == "complete":
            self._finished_at = self._all_done

    @property
    def _all_done(self) -> Fraction:
        """Whole trainings that are known to be done, looks included."""
        return _whole(self._done) + self._looks[1]

    def _recall(self) -> None:
        """What had been done when a trial completed last: all rungs and ends once more, in the order of writing."""
        done, counted, looks = Counter[int](), Counter[int](), dict[int, Fraction]()
        for _, number, epoch, ends in sorted(self._written()):
            length = self.epochs(number)
            done[length] += epoch - counted[number]
            counted[number] = epoch
            looks[number] = _exact(self.record.trial(number).looked)  # the first that is written of a trial
            if ends:
                self._finished_at = _whole(done) + sum(looks.values())

    def _written(self) -> Iterator[tuple[int, int, int, bool]]:
        """Order, trial, epoch of each rung and end, and whether a training was complete with it."""
        for number in self._places:
            trial = self.record.trial(number)
            if trial.order is not None:
                yield trial.order, number, trial.trained, trial.outcome == "complete"
            for rung in trial.rungs:
                if rung.order != trial.order:
                    yield rung.order, number, rung.come, False


def through(rungs: Sequence[float], workers: int) -> Fraction:
    """Whole trainings that are done at most until one of them completes, where all workers go on with what has come furthest:

        W (g + 1 - r) + g

    r the first rung, g the largest distance between two, beginning and end among them. What each of W workers is at work on is
    at most g, and after that it comes to a higher rung with every job, however slow one is beside the others; news come by as
    much as g at once.
    """
    shares = [Fraction(share) for share in rungs]
    most = max(high - low for low, high in zip([Fraction(0), *shares], shares, strict=False))
    return workers * (most + 1 - shares[0]) + most


def _without_gaps(rungs: tuple[Rung, ...], first: int) -> tuple[Rung, ...]:
    """All rungs up to the last one: one that was passed together with the next, or that a training ended before, is as that.

    Args:
        first: the index of the first rung of trainings: 1 where looks come before. Nothing stands for a look.
    """
    if not rungs or rungs[-1].index + 1 == len(rungs):
        return rungs
    found: list[Rung] = []
    for rung in rungs:
        come = found[-1].index + 1 if found else min(first, rung.index)
        found += [replace(rung, index=index) for index in range(come, rung.index + 1)]
    return tuple(found)


def _exact(share: float) -> Fraction:
    """A share as it was written down: sums of them are the same in any order."""
    return Fraction(str(share))


def _whole(epochs: Counter[int]) -> Fraction:
    """Epochs by the length of their trainings, in whole trainings."""
    return sum((Fraction(count, length) for length, count in epochs.items()), Fraction(0))
