"""A search over a table of learning curves, on a clock that takes no time: the controller, the record and the policies of a
sweep, with answers from the table in place of workers.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from sweeps.record import Record, TrialRecord
from sweeps.record.ledger import Spent
from sweeps.record.lives import Lives
from sweeps.running.queues import DONE, End, Job, Queue, Result, Signal, Verdict
from sweeps.running.simulated import Answers, Simulated
from sweeps.running.tasks.base import PAUSED, Report
from sweeps.search import sampling
from sweeps.search.budget import Budget
from sweeps.search.controller import Controller
from sweeps.search.field import Policy
from sweeps.search.listed import Listed
from sweeps.search.regret import Finished
from sweeps.search.study import Asked, Study
from sweeps.search.tabled import Tabled
from sweeps.space import Sweep
from sweeps.space.templates import count, nth

SHARED_MEMORY = "/dev/shm"  # noqa: S108 (folders there get names of their own)
"""A file system without a disk, on Linux: a record that nobody will read waits for none."""


@dataclass
class Trace:
    """What a search came to.

    Attributes:
        finished: trials that were trained to their end, in order.
        started: trials that were begun.
        paid: seconds of all workers together, as far as they were at work within the budget.
        unfinished: of these, those that went into trials that were not trained to their end.
    """

    finished: list[Finished] = field(default_factory=list)
    started: int = 0
    paid: float = 0.0
    unfinished: float = 0.0


class Timed:
    """A queue on a clock: after the budget nothing is begun, and what ends later counts as if it had not."""

    def __init__(self, queue: Queue, world: Tabled, seconds: float, spent: Spent | None = None) -> None:
        """Args: seconds: of the clock, after which the search is over. spent: grows by what trials take."""
        self.trace = Trace()
        self.place: Simulated | None = None
        self._queue, self._world, self._seconds = queue, world, seconds
        self.spent = Spent() if spent is None else spent
        self._begun: dict[str, tuple[int, float]] = {}  # by job: its trial, and when
        self._known: set[int] = set()
        self._unfinished: defaultdict[int, float] = defaultdict(float)

    def under_way(self) -> dict[tuple[str, int], float]:
        """By kind and trial, seconds of the jobs at work."""
        return {("train", number): self.now - since for number, since in self._begun.values()}

    def next(self) -> Job | Signal:
        if self.now >= self._seconds:
            return DONE
        found = self._queue.next()
        if isinstance(found, Job):
            self._begun[found.name] = found.number, self.now
            self._known.add(found.number)
            self.trace.started = len(self._known)
        return found

    def report(self, job: Job, result: Result) -> Verdict:
        return self._queue.report(job, result)

    def finish(self, job: Job, end: End) -> None:
        _, since = self._begun.pop(job.name)
        paid = max(min(self.now, self._seconds) - since, 0.0)
        self.spent.add("train", job.number, self.now - since)
        self.trace.paid += paid
        self._unfinished[job.number] += paid
        if end.outcome == "complete" and self.now <= self._seconds:
            del self._unfinished[job.number]
            assert self.place is not None
            seen = self._world.gains(end.result)
            self.trace.finished.append(Finished(self.now * self.place.slots, int(end.result["place"]), seen))
        self.trace.unfinished = sum(self._unfinished.values())
        self._queue.finish(job, end)

    def driven(self, answers: Answers, workers: int) -> Trace:
        """Drives the queue to its end."""
        self.place = Simulated(answers, workers)
        self.place.run(self)
        return self.trace

    @property
    def now(self) -> float:
        return self.place.now if self.place is not None else 0.0


class TabledStudy(Study):
    """A study that asks for settings of a table alone: the nearest to what a sampler draws that was not tried."""

    def __init__(self, sweep: Sweep, record: Record, listed: Listed) -> None:
        """Args: listed: the table's settings; told of those that are tried."""
        self.listed = listed
        self._optuna = {parameter.name: parameter.distribution.to_optuna() for parameter in sweep.space}
        super().__init__(sweep, record)

    def ask(self, sampler: BaseSampler) -> Asked:
        asked = super().ask(sampler)
        return self._instead(asked, self.listed.nearest(asked.params))

    def again(self, params: Mapping[str, object]) -> Asked:
        return self._instead(super().ask(sampling.Fixed(params)), self.listed.place(params))

    def _instead(self, asked: Asked, place: int) -> Asked:
        """Another setting in place of what was drawn, as if the sampler had drawn that."""
        assert self._drawn is not None
        params = dict(self.listed.settings[place])
        drawn = self._frozen(self._drawn)
        drawn.distributions = {name: self._optuna[name] for name in params}
        drawn.params = params
        return Asked(params, dict(drawn.distributions), asked.system_attrs)

    def issued(
        self, trial: TrialRecord, distributions: Mapping[str, BaseDistribution], system_attrs: Mapping[str, Any]
    ) -> None:
        self.listed.take(self.listed.place(trial.params))
        super().issued(trial, distributions, system_attrs)


class TableController(Controller):
    """A controller that is at its end where the table is, and whose trials have no folders: nobody works in them.

    It asks whom a controller asks, in the same order: points to try first, the policy, the grid, priors, the sampler. Whatever
    they say becomes the nearest setting that was not tried, so none is asked twice. A setting is trained again with another
    seed of the table, as long as there is one.
    """

    study: TabledStudy
    _gridded = 0  # points of a grid that were asked for
    _seeds = 1

    def meets(self, seeds: int) -> None:
        """Args: seeds: with which a setting of the table may be trained."""
        self._seeds = seeds
        self.replicates.wanted = min(self.replicates.wanted, seeds) if seeds > 1 else 0

    def _new(self, number: int, params: Mapping[str, object] | None) -> Asked | None:
        if not self.study.listed.left.any():
            return None
        point = self.first.point(number)
        wanted = params if point is None else point
        if wanted is None and self.sweep.search.sampler == "grid":
            at, self._gridded = self._gridded, self._gridded + 1
            if at >= count(self.sweep.settings):
                return None
            wanted = nth(self.sweep.settings, at)
        if wanted is not None:
            return self.study.ask(sampling.Fixed(wanted))
        before = self.first.samplers(number, self.study.learnt)
        return self.study.ask(next(before, sampling.sampler(self.sweep, number)))

    def _replicate(self, first: int) -> int | None:
        trained = sum(first in (trial.number, trial.replicate_of) for trial in self.record.trials())
        return super()._replicate(first) if trained < self._seeds else None

    def _kept(self, number: int) -> bool:
        return True

    def _job(self, number: int) -> Job:
        self.running.add(number)
        until = None if self.pausing is None else self.pausing.send(number)
        return Job(f"trial {number:04d}", number, {} if until is None else {"until": until})


class Trainings:
    """Answers the controller's jobs from a table."""

    def __init__(self, world: Tabled, record: Record, listed: Listed) -> None:
        self._world, self._record, self._listed = world, record, listed

    def _again(self, trial: TrialRecord) -> int:
        """How many trials of its setting there were before: a replicate meets another seed of the table."""
        first = trial.replicate_of
        if first is None:
            return 0
        return 1 + sum(each.replicate_of == first for each in self._record.trials()[: trial.number])

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        trial = self._record.trial(job.number)
        place = self._listed.place(trial.params)
        begun = (
            trial.rungs[-1] if trial.rungs and trial.rungs[-1].look is None else None
        )  # a look is no part of a training
        until = job.work.get("until", self._world.epochs[-1])
        piece = self._world.piece(place, 0 if begun is None else begun.epoch, until, self._again(trial))
        known: dict[str, Any] = {
            "place": place,
            "epoch": piece.epoch,
            "training_iteration": piece.epoch,
            "cost_seconds": piece.seconds + (0.0 if begun is None else begun.seconds),
            "done": True,
        }
        whole = "complete" if piece.epoch == self._world.epochs[-1] else PAUSED
        yield piece.seconds, {**known, **(piece.values or {}), "outcome": "diverged" if piece.values is None else whole}


Chosen = Callable[[Sweep, Listed], Policy | None]
"""Makes the policy of a search over these settings."""


def simulate(
    sweep: Sweep, world: Tabled, policy: Chosen, *, workers: int, budget: float = math.inf, folder: Path | None = None
) -> Trace:
    """Searches a table once.

    Args:
        world: what the search meets.
        workers: trainings at a time.
        budget: whole trainings, in the mean over the table's settings, that all workers together may take; by default what the
            controller itself makes of `search.trials`.
        folder: of the record; a temporary one where it is not given.
    """
    memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
    scratch = tempfile.TemporaryDirectory(prefix="simulated-", dir=memory)
    with scratch as made, Record(folder or Path(made), sweep.objectives) as record:
        listed = Listed(sweep.space, sweep.ask, world.settings)
        chosen = policy(sweep, listed)
        spent, lives = Spent(), Lives(record.folder, "simulated", clock=lambda: timed.now)
        spending = Budget(
            sweep.model_copy(update={"judge": sweep.judge.model_copy(update={"trials": "none"})}),  # nothing is judged
            record,
            spent,
            lives,
            heard=lambda: timed.under_way(),
            training=lambda: controller.running,
            waiting=lambda: () if controller.pausing is None else controller.pausing.paused,
            slots=lambda: workers,
        )
        controller = TableController(
            sweep,
            record,
            chosen,
            lambda event: None,
            session="simulated",
            spent=spending.spent,
            left=spending.seconds,
        )
        controller.study = TabledStudy(sweep, record, listed)
        controller.meets(world.met)
        timed = Timed(controller, world, budget * world.whole / workers, spent)
        with lives:
            return timed.driven(Trainings(world, record, listed), workers)


def clocked(queue: Queue, world: Tabled, answers: Any, *, workers: int, budget: float) -> Trace:
    """Drives a queue over a table until the budget is spent; whatever the queue is."""
    return Timed(queue, world, budget * world.whole / workers).driven(answers, workers)
