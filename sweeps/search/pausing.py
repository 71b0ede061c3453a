"""Trials that are paused at rungs: asks a policy who goes on, and keeps what it decides by in the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from sweeps.record import Record, Rung
from sweeps.running.queues import DONE, WAIT, Signal
from sweeps.search.field import Nothing, Policy, Resume, Start
from sweeps.search.guard import furthest
from sweeps.search.progress import Progress
from sweeps.space import Sweep

PLACES = "places/"
"""Settings of the record that hold where trials stood that waited when the search ended, by how often trials had been sent."""
Draw = Callable[[Mapping[str, object] | None], int | None]
"""Begins a trial with these options, or with those that the sampler chooses; None where no setting is left."""


class Pausing:
    """What a policy decides, within a budget of whole trainings. All that it rests on is in the record: after a kill it decides
    as it would have.
    """

    def __init__(
        self, sweep: Sweep, record: Record, policy: Policy, left: Callable[[], float] = lambda: math.inf
    ) -> None:
        """Reads the record. Args: left: device-seconds that training may still take."""
        self.sweep = sweep
        self.record = record
        self.policy = policy
        self._left = left
        self.progress = Progress(sweep, record)
        self.look = self.progress.look

    @property
    def last(self) -> int:
        """The index of the last rung, the end of training."""
        return len(self.progress.rungs) - 1

    @property
    def paused(self) -> Sequence[int]:
        """Trials that may go on, by number."""
        return sorted(self.progress.paused)

    def choose(self, draw: Draw, again: Callable[[], int | None], *, at_work: bool) -> int | Signal:
        """The trial to begin or to go on with; DONE once the budget is spent and nothing is at work.

        Args:
            again: begins a setting near the frontier with another seed, where it is time to.
            at_work: whether any trial is: it may end sooner than it was sent, or bring news.
        """
        rest: Signal = WAIT if at_work else DONE
        if self.progress.spent >= self.sweep.trials:
            return rest if at_work or self._complete() else self._furthest(rest)
        if self.progress.dry:
            found = self._furthest(rest)
            if isinstance(found, int):
                return found
        field = self.progress.field(self._left())
        if not field.closing and (replicate := again()) is not None:
            return replicate
        match self.policy.choose(field):
            case Resume(number):
                if number not in self.progress.paused:
                    raise RuntimeError(f"{type(self.policy).__name__} goes on with trial {number}, which is not paused")
                return number
            case Start(params):
                begun = draw(params)
                return self._furthest(rest) if begun is None else begun
            case Nothing():
                if at_work:
                    return WAIT
                begun = None if self.progress.paused else draw(None)
                return self._furthest(DONE) if begun is None else begun

    def given_up(self) -> Sequence[int]:
        """Paused trials that the policy will never go on with."""
        return self.policy.given_up(self.progress.field()) if self.progress.paused else ()

    def places(self) -> Mapping[int, str]:
        """Where those that wait stand now that the search ends, in words. Kept: stopping some would move the others."""
        key = f"{PLACES}{self.record.sent}"
        kept = self.record.setting(key)
        if kept is None:
            told = self.policy.places(self.progress.field())
            kept = self.record.setting(key, {str(number): words for number, words in told.items()})
        return {int(number): str(words) for number, words in (kept or {}).items()}

    def send(self, number: int) -> int | None:
        """Writes down that a trial goes to its next rung, unless it was on its way there; the epoch to stop after, None for the
        end of training, its own or that of a look at it.
        """
        trial = self.record.trial(number)
        if trial.sent is None or trial.paused:
            if self.progress.looks is not None and self.progress.to_look(number):
                whole = self.sweep.trial_config(trial.params)
                look, epoch = self.progress.looks.cost(whole), self.progress.looks.config(whole).schedule.epochs
                self.record.send(number, 0, epoch=epoch, epochs=whole.schedule.epochs, look=look)
            else:
                index, epoch = self.progress.following(number)
                self.record.send(number, index, epoch=epoch, epochs=self.progress.epochs(number))
            self.look(number)
        sent = self.record.trial(number).sent
        assert sent is not None
        return None if sent.index == self.last or sent.look is not None else sent.epoch

    def looking(self, number: int) -> bool:
        """Whether the job of a trial is a look at it."""
        return self.record.trial(number).looking

    def arrived(self, number: int, *, epoch: int, metrics: Mapping[str, float], seconds: float) -> Rung:
        """Writes down what a trial measured at the rung that it was sent to."""
        sent = self.record.trial(number).sent
        assert sent is not None
        self.record.rung(number, sent.index, epoch=epoch, metrics=metrics, seconds=seconds)
        self.look(number)
        return self.record.trial(number).rungs[-1]

    def _furthest(self, otherwise: Signal) -> int | Signal:
        found = furthest(self.sweep, self.record, self.progress.paused)
        return otherwise if found is None else found

    def _complete(self) -> bool:
        """Whether any trial is: a sweep that ends has something to show."""
        return self.progress.complete > 0
