"""A search over a table of learning curves, on a clock that takes no time: the controller, the record and the policies of a
sweep, with answers from the table in place of workers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler

from sweeps.record import Record
from sweeps.running.queues import DONE, End, Job, Queue, Result, Signal, Verdict
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import PAUSED, Report
from sweeps.search.controller import Controller
from sweeps.search.regret import Finished
from sweeps.search.field import Policy
from sweeps.search.study import Asked, Study
from sweeps.search.tabled import Tabled
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter


SHARED_MEMORY = "/dev/shm"  # noqa: S108: folders there are made with names of their own
"""A file system without a disk, on Linux: a record that nobody will read waits for none."""
Suggest = Callable[[Parameter], object]
Ask = Callable[[Suggest], dict[str, object]]


@dataclass
class Trace:
    """What a search came to.

    Attributes:
        finished: trials that were trained to their end, in order.
        started: trials that were begun.
        paid: seconds of all workers together, as far as they were at work within the budget.
    """

    finished: list[Finished] = field(default_factory=list)
    started: int = 0
    paid: float = 0.0


class Timed:
    """A queue on a clock: after the budget nothing is begun, and what ends later counts as if it had not."""

    def __init__(self, queue: Queue, world: Tabled, seconds: float) -> None:
        """Args: seconds: of the clock, after which the search is over."""
        self.trace = Trace()
        self.place: Simulated | None = None
        self._queue, self._world, self._seconds = queue, world, seconds
        self._begun: dict[str, float] = {}
        self._known: set[int] = set()

    def next(self) -> Job | Signal:
        if self._now >= self._seconds:
            return DONE
        found = self._queue.next()
        if isinstance(found, Job):
            self._begun[found.name] = self._now
            self._known.add(found.number)
            self.trace.started = len(self._known)
        return found

    def report(self, job: Job, result: Result) -> Verdict:
        return self._queue.report(job, result)

    def finish(self, job: Job, end: End) -> None:
        self.trace.paid += max(min(self._now, self._seconds) - self._begun.pop(job.name), 0.0)
        if end.outcome == "complete" and self._now <= self._seconds:
            assert self.place is not None
            seen = self._world.gains(end.result)
            self.trace.finished.append(Finished(self._now * self.place.slots, int(end.result["place"]), seen))
        self._queue.finish(job, end)

    @property
    def _now(self) -> float:
        return self.place.now if self.place is not None else 0.0


class TabledStudy(Study):
    """A study that asks for settings of a table alone: the nearest to what a sampler draws that was not tried."""

    def __init__(self, sweep: Sweep, record: Record, world: Tabled) -> None:
        self.world = world
        self.left = np.ones(len(world.listed.settings), dtype=np.bool_)
        self._optuna = {parameter.name: parameter.distribution.to_optuna() for parameter in sweep.space}
        super().__init__(sweep, record)

    def ask(self, sampler: BaseSampler) -> Asked:
        asked = super().ask(sampler)
        assert self._drawn is not None
        params = self._nearest(asked.params)
        drawn = self._frozen(self._drawn)
        drawn.distributions = {name: self._optuna[name] for name in params}
        drawn.params = params
        return Asked(params, dict(drawn.distributions), asked.system_attrs)

    def setting(self, suggest: Suggest) -> dict[str, object]:
        """The nearest setting of the table to what is suggested that was not tried; what is suggested, where all were."""
        params = self.sweep.ask(suggest)
        return self._nearest(params) if self.left.any() else params

    def _nearest(self, params: Mapping[str, object]) -> dict[str, object]:
        return dict(self.world.listed.settings[self.world.listed.nearest(params, self.left)])

    def issued(self, trial: Any, distributions: Any, system_attrs: Mapping[str, Any]) -> None:
        place = self.world.listed.place(trial.params)
        assert place is not None
        self.left[place] = False
        super().issued(trial, distributions, system_attrs)


class _Controller(Controller):
    """A controller that is at its end where the table is."""

    study: TabledStudy

    def _new(self, number: int, params: Mapping[str, object] | None) -> Asked | None:
        return super()._new(number, params) if self.study.left.any() else None


class Trainings:
    """Answers the controller's jobs from a table."""

    def __init__(self, world: Tabled, record: Record) -> None:
        self._world, self._record = world, record

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        trial = self._record.trial(job.number)
        place = self._world.listed.place(trial.params)
        assert place is not None
        begun = trial.rungs[-1] if trial.rungs else None
        piece = self._world.piece(place, 0 if begun is None else begun.epoch, job.work.get("until", self._world.epochs[-1]))
        known: dict[str, Any] = {
            "place": place,
            "epoch": piece.epoch,
            "training_iteration": piece.epoch,
            "cost_seconds": piece.seconds + (0.0 if begun is None else begun.seconds),
            "done": True,
        }
        whole = "complete" if piece.epoch == self._world.epochs[-1] else PAUSED
        yield piece.seconds, {**known, **(piece.values or {}), "outcome": "diverged" if piece.values is None else whole}


Chosen = Callable[[Sweep, Ask], Policy | None]
"""Makes the policy of a search, given how a setting is asked for."""


def simulate(
    sweep: Sweep, world: Tabled, policy: Chosen, *, workers: int, budget: float, folder: Path | None = None
) -> Trace:
    """Searches a table once.

    Args:
        world: what the search meets.
        workers: trainings at a time.
        budget: whole trainings, in the mean over the table's settings, that all workers together may take.
        folder: of the record; a temporary one where it is not given.
    """
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="simulated-", dir=memory) as made, Record(folder or Path(made), sweep.objectives) as record:
        study = TabledStudy(sweep, record, world)
        chosen = policy(sweep, study.setting)
        controller = _Controller(sweep, record, chosen, lambda event: None, session="simulated")
        controller.study = study
        return clocked(controller, world, Trainings(world, record), workers=workers, budget=budget)


def clocked(queue: Queue, world: Tabled, answers: Any, *, workers: int, budget: float) -> Trace:
    """Drives a queue over a table until the budget is spent; whatever the queue is."""
    timed = Timed(queue, world, budget * world.whole / workers)
    timed.place = Simulated(answers, workers)
    timed.place.run(timed)
    return timed.trace
