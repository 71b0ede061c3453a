"""Other searches over a table of learning curves, each as its package has it, as queues of work for the simulated clock.

A rival draws settings; each becomes the nearest of the table that was not tried, and the rival is told that it was that one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import TrialState

from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.running.tasks.base import Report
from sweeps.search.first import points
from sweeps.search.listed import Listed
from sweeps.search.sampling import population, suggest
from sweeps.search.tabled import Tabled
from sweeps.space import Sweep

BUDGET = 60
"""Whole trainings of a search."""


@dataclass(frozen=True)
class Work:
    """A piece of training that a rival wants."""

    number: int  # of its trial
    place: int  # of the setting in the table
    begun: int  # epochs that it has behind it
    until: int
    looks: tuple[int, ...] = ()  # epochs between, at which the rival is told and may stop it


class Rival(Protocol):
    """A search that is asked by a free worker."""

    def ask(self) -> Work | None:
        """What to do next; None: nothing before something else has ended."""
        ...

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        """Whether a training that was looked at on the way is stopped."""
        ...

    def tell(self, work: Work, values: Mapping[str, float] | None) -> None:
        """A piece has ended, with what was measured; None where the training broke off."""
        ...


class Rivals:
    """A rival as a queue, and its answers from the table."""

    def __init__(self, rival: Rival, world: Tabled) -> None:
        self.rival, self.world = rival, world
        self._works: dict[str, Work] = {}

    def next(self) -> Job | Signal:
        work = self.rival.ask()
        if work is None:  # for good, where nothing is at work that could change it
            return WAIT if self._works else DONE
        job = Job(f"trial {work.number} from {work.begun}", work.number, {})
        self._works[job.name] = work
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        values = {name: float(result[name]) for name in self.world.objectives}
        return "stop" if self.rival.look(self._works[job.name], int(result["epoch"]), values) else "go"

    def finish(self, job: Job, end: End) -> None:
        work = self._works.pop(job.name)
        if end.outcome == "stopped":  # it was the rival that said so
            return
        broken = end.outcome == "diverged"
        self.rival.tell(work, None if broken else {name: float(end.result[name]) for name in self.world.objectives})

    def answers(self, job: Job) -> Iterator[tuple[float, Report]]:
        """What a job reports, and when."""
        work, world = self._works[job.name], self.world
        spent = 0.0
        for extra, epoch in enumerate(work.looks):  # one evaluation more for each
            piece = world.piece(work.place, work.begun, epoch)
            now = piece.seconds + extra * world.evaluation(work.place)
            if piece.values is None:
                break
            yield now - spent, {**piece.values, "epoch": epoch, "training_iteration": epoch, "done": False}
            spent = now
        piece = world.piece(work.place, work.begun, work.until)
        now = piece.seconds + len(work.looks) * world.evaluation(work.place)
        complete = "complete" if work.until == world.epochs[-1] else "paused"
        known = {"place": work.place, "epoch": piece.epoch, "training_iteration": piece.epoch, "done": True}
        outcome = "diverged" if piece.values is None else complete
        yield max(now - spent, 0.0), {**known, **(piece.values or {}), "outcome": outcome}


class OptunaRival:
    """A sampler of Optuna's, asked as Ray Tune's OptunaSearch does: one for the whole search, first in, first out."""

    def __init__(self, sweep: Sweep, world: Tabled, sampler: BaseSampler, *, flat: bool = False, **more: Any) -> None:
        """Args: flat: ask for every option of every branch, for samplers that learn only from what all trials have."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.world, self.flat = sweep, world, flat
        self.listed = Listed(sweep.space, sweep.ask, world.settings)
        ways = {"max": StudyDirection.MAXIMIZE, "min": StudyDirection.MINIMIZE}
        directions = [ways[mode] for mode in world.objectives.values()]
        self.study = optuna.create_study(directions=directions, sampler=sampler, **more)
        self.trials: list[optuna.Trial] = []
        self._worst: dict[str, float] = {}

    looks: tuple[int, ...] = ()

    def ask(self) -> Work | None:
        if not self.listed.left.any():
            return None
        trial = self.study.ask()
        drawn: dict[str, object] = {}
        if self.flat:
            drawn = {parameter.name: suggest(trial, parameter) for parameter in self.sweep.space}
            chosen = self.sweep.ask(lambda parameter: drawn[parameter.name])
        else:
            chosen = self.sweep.ask(lambda parameter: suggest(trial, parameter))
        place = self.listed.nearest(chosen)
        self.listed.take(place)
        self._was(trial, {**drawn, **self.world.settings[place]})
        self.trials.append(trial)
        return Work(len(self.trials) - 1, place, 0, self.world.epochs[-1], self.looks)

    def _was(self, trial: optuna.Trial, params: Mapping[str, Any]) -> None:
        """Writes into the study what became of a draw."""
        frozen = self.study.get_trials(deepcopy=False)[trial.number]
        known = {parameter.name: parameter.distribution.to_optuna() for parameter in self.sweep.space}
        frozen.distributions = {name: known[name] for name in params}
        frozen.params = dict(params)

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        return False

    def tell(self, work: Work, values: Mapping[str, float] | None) -> None:
        trial = self.trials[work.number]
        if values is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, [values[name] for name in self.world.objectives])


class HubPruned(OptunaRival):
    """TPE with OptunaHub's MultiMetricPruner over a percentile: a trial that looks bad at a look is pruned."""

    def __init__(
        self, sweep: Sweep, world: Tabled, seed: int, *, registry: Path, percentile: float, shares: tuple[float, ...]
    ) -> None:
        """Args: registry: a checkout of the hub's. percentile: better ones go on. shares: of training, at which it looks."""
        self.hub = hub(registry)
        directions = {name: "maximize" if mode == "max" else "minimize" for name, mode in world.objectives.items()}
        base = optuna.pruners.PercentilePruner(percentile, n_startup_trials=5)
        pruner = self.hub.MultiMetricPruner(base, metric_directions=directions, joint=True)
        super().__init__(sweep, world, TPESampler(seed=seed), pruner=pruner)
        self.looks = tuple(sorted({epoch_at(world, share) for share in shares}))

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        trial = self.hub.MultiMetricPrunerTrial(self.trials[work.number])
        trial.report(dict(values), epoch)
        if not trial.should_prune():
            return False
        self.study.tell(self.trials[work.number], state=TrialState.PRUNED)
        return True


class SyneTune(OptunaRival):
    """MO-ASHA as published (Schmucker et al., 2021), of Syne Tune: settings by chance, stopped at rungs by dominance."""

    def __init__(self, sweep: Sweep, world: Tabled, seed: int, *, first: int) -> None:
        """Args: first: epochs before the first rung; each rung has three times those of the one before."""
        from syne_tune.backend.trial_status import Trial
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        super().__init__(sweep, world, RandomSampler(seed=seed))
        np.random.seed(seed)  # noqa: NPY002 (what it draws from)
        self._trial = Trial
        whole = world.epochs[-1]
        self._scheduler = MOASHA(
            {}, list(world.objectives), False, "epoch", max_t=whole, grace_period=first, random_seed=seed
        )
        self._known: set[int] = set()
        self.looks = tuple(epoch for n in range(9) if (epoch := first * 3**n) < whole)

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        from syne_tune.optimizer.scheduler import SchedulerDecision

        trial = self._trial(work.number, {}, datetime.now())
        if work.number not in self._known:
            self._known.add(work.number)
            self._scheduler.on_trial_add(trial)
        stopped = self._scheduler.on_trial_result(trial, {**values, "epoch": epoch}) == SchedulerDecision.STOP
        if stopped:
            self.study.tell(self.trials[work.number], state=TrialState.PRUNED)
        return bool(stopped)


def epoch_at(world: Tabled, share: float) -> int:
    """The epoch that the table looked at, at or after a share of training."""
    wanted = share * world.epochs[-1]
    return next(epoch for epoch in world.epochs if epoch >= wanted - 1e-9)


def hub(registry: Path) -> Any:
    """OptunaHub's module of MultiMetricPruner, from a checkout of github.com/optuna/optunahub-registry."""
    sys.path.insert(0, str(registry / "package/pruners"))
    import multi_metric_pruner

    return multi_metric_pruner


def _neps(sweep: Sweep, world: Tabled, seed: int, **options: Any) -> Rival:
    from _neps_rivals import Neps

    return Neps(sweep, world, seed, **options)


Maker = Callable[[Sweep, Tabled, int], Rival]


def plain(sampler: Callable[[int], BaseSampler], *, flat: bool = False, published: bool = False) -> Maker:
    """A maker of an Optuna sampler's search. Args: published: it is given the defaults of each defense to try first."""

    def made(sweep: Sweep, world: Tabled, seed: int) -> Rival:
        rival = OptunaRival(sweep, world, sampler(seed), flat=flat)
        first = {**sweep.resolved(), "search": {"sampler": "auto", "trials": BUDGET}}  # where published is the default
        for point in points(Sweep.model_validate(first)) if published else ():
            rival.study.enqueue_trial(point)
        return rival

    return made


def makers(registry: Path | None) -> dict[str, Maker]:
    """All rivals by name; those whose packages are not here fail when they are made."""
    found: dict[str, Maker] = {
        "optuna_tpe": plain(lambda seed: TPESampler(seed=seed)),
        "optuna_tpe_published": plain(lambda seed: TPESampler(seed=seed), published=True),
        "random": plain(lambda seed: RandomSampler(seed=seed)),
        "optuna_nsga2": plain(lambda seed: NSGAIISampler(population_size=population(BUDGET), seed=seed)),
        "optuna_gp": plain(lambda seed: GPSampler(seed=seed, warn_independent_sampling=False), flat=True),
    }
    for first, word in ((1 / 27, "27"), (1 / 9, "9")):
        found[f"neps_moasha_{word}"] = partial(_neps, name="moasha", first=first)
        found[f"neps_moasha_{word}_mended"] = partial(_neps, name="moasha", first=first, mended=True)
    for grace in (1, 3):
        found[f"syne_moasha_{grace}"] = partial(SyneTune, first=grace)
    for prior in ("flat", "right"):
        found[f"neps_primo_{prior}"] = partial(_neps, name="primo", first=1 / 9, prior=prior)
    if registry is not None:
        for percentile, shares in ((50.0, (2 / 9, 0.5)), (50.0, (1 / 9, 1 / 3)), (25.0, (2 / 9, 0.5))):
            name = f"hub_pruner_{percentile:.0f}_{shares[0]:.2f}"
            found[name] = partial(HubPruned, registry=registry, percentile=percentile, shares=shares)
    return found
