"""The study that samplers see: built in memory from the record, with the best that is known of every setting.

The journal's own study is another one: it is what was told when a trial ended, and nobody may change it. Here a judged number
takes the place of the cheap one, and until there is one the bound that judging has come to; a trial that failed counts as the
worst there is, replicates as their mean, and trials that nobody sampled are left out unless they were imported. It is a
function of the record, so a resumed sweep asks as the undisturbed one would have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study._constrained_optimization import _CONSTRAINTS_KEY
from optuna.trial import FrozenTrial, TrialState, create_trial

from robustray.measures.metrics import COSTS, is_share
from sweeps.frontier import mean
from sweeps.record import DIRECTIONS, Record, TrialRecord, imported
from sweeps.record.constraints import shares
from sweeps.record.imported import Imported
from sweeps.search.sampling import FIRST_GENERATION, Fixed, suggest
from sweeps.space import Sweep
from sweeps.standing import SELECTION, known

_LEARNT_FROM = ("sampled", "imported")
DRAWN = "drawn"
"""What marks a replicate that the search asked for in place of a new setting: it counts, and moves the seeds on."""
_STANDS_FOR = ("replicate", "retry")  # its parent, as far as a sampler is concerned


@dataclass(frozen=True)
class Asked:
    """What a sampler wants to try."""

    params: dict[str, object]
    distributions: Mapping[str, BaseDistribution]
    system_attrs: Mapping[str, Any]  # what the sampler noted: generations, say


class Study:
    """The samplers' study. The driver tells it of every trial that is issued, ends, or is judged."""

    def __init__(self, sweep: Sweep, record: Record) -> None:
        """Reads the record."""
        self.sweep = sweep
        self.record = record
        self.sampled = 0
        """How many trials the sampler was asked for: what the budget counts, and what moves its seeds on."""
        self.learnt = 0
        """Of how many settings it is known what they came to. Counted, as it is asked for at every draw."""
        self._objectives = dict(sweep.objectives)
        self._study = optuna.create_study(directions=[DIRECTIONS[mode] for mode in self._objectives.values()])
        self._places: dict[int, int] = {}  # number in the record -> number here
        self._trials: dict[int, list[int]] = defaultdict(list)  # by place: numbers of all that stand for it
        self._hopeless: set[int] = set()  # places whose trials all failed
        self._worst: dict[str, float] = {}  # seen so far, of objectives that have no worst of their own
        for each in imported.of(record):
            self._import(each)
        frozen = record.study.get_trials(deepcopy=False)
        for trial in record.trials():
            self.issued(trial, frozen[trial.number].distributions, frozen[trial.number].system_attrs)
        for number in record.ended():
            self.learn(number)

    def ask(self, sampler: BaseSampler) -> Asked:
        """Draws a trial; `issued` takes it in once it is in the record. One that was not issued is drawn anew in place."""
        self._study.sampler = sampler
        trial = self._study.ask() if self._drawn is None else self._anew(self._drawn)
        try:
            params = self.sweep.ask(lambda parameter: suggest(trial, parameter))
        except BaseException:
            self._study.tell(trial, state=TrialState.FAIL)
            self._drawn = None
            raise
        drawn = self._frozen(trial.number)
        self._drawn = trial.number
        return Asked(params, dict(drawn.distributions), dict(drawn.system_attrs))

    def again(self, params: Mapping[str, object]) -> Asked:
        """A setting that was tried, to be trained with another seed."""
        return self.ask(Fixed(params))

    _drawn: int | None = None  # asked, and not issued yet

    def _anew(self, place: int) -> optuna.Trial:
        """The trial that was drawn and not issued, as if it had not been asked for."""
        frozen = self._frozen(place)
        frozen.params, frozen.distributions, frozen.system_attrs = {}, {}, {}
        self._study._thread_local.cached_all_trials = None  # as `ask` does: samplers look at trials through it
        return optuna.Trial(self._study, frozen._trial_id)

    def issued(
        self, trial: TrialRecord, distributions: Mapping[str, BaseDistribution], system_attrs: Mapping[str, Any]
    ) -> None:
        """A trial is in the record."""
        if trial.origin in _STANDS_FOR and trial.parents:
            place = self._places.get(trial.parents[0])
        elif trial.origin not in _LEARNT_FROM:
            place = None
        elif self._drawn is not None and trial.origin == "sampled":
            place, self._drawn = self._drawn, None
        else:
            kept = {key: value for key, value in system_attrs.items() if not key.startswith("constraints")}
            params = {name: trial.params[name] for name in distributions}
            running = create_trial(
                state=TrialState.RUNNING, params=params, distributions=dict(distributions), system_attrs=kept
            )
            self._study.add_trial(running)
            place = len(self._study.get_trials(deepcopy=False)) - 1
        self.sampled += trial.origin == "sampled" or bool(system_attrs.get(DRAWN))
        if place is not None:
            self._places[trial.number] = place
            self._trials[place].append(trial.number)

    def _import(self, each: Imported) -> None:
        """Takes in a setting of another sweep: it is complete, and to samplers with generations it is of the first."""
        every = {parameter.name: parameter.distribution.to_optuna() for parameter in self.sweep.space}
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(each.params),
                distributions={name: every[name] for name in each.params},
                system_attrs=FIRST_GENERATION,
            )
        )
        place = len(self._study.get_trials(deepcopy=False)) - 1
        for name in self._objectives:
            self._seen(name, [float(each.values[name])])
        self._put(place, each.values, shares(each.values, self.sweep.constraints))

    def learn(self, number: int) -> None:
        """More is known of a trial: it has ended, or was judged."""
        place = self._places.get(number)
        if place is None:
            return
        values = [found for each in self._trials[place] if (found := self._values(each)) is not None]
        if values:
            self._hopeless.discard(place)
            for name in self._objectives:
                self._seen(name, [float(each[name]) for each in values])
            self._put(place, mean(values, self._objectives), self._violations(place))
        elif any(self.record.trial(each).looked_only for each in self._trials[place]):
            return  # nothing is known of its training: to samplers it is at work, and neither good nor bad
        elif all(self.record.trial(each).outcome is not None for each in self._trials[place]):
            self._hopeless.add(place)
            self._give_up(place)

    def _values(self, number: int) -> Mapping[str, float] | None:
        """The objectives of a trial as they are known best; None where it has none, or never will have."""
        trial = self.record.trial(number)
        if trial.outcome not in ("complete", "stopped"):
            return None
        found = self._known(trial)
        return {name: found[name] for name in self._objectives} if all(n in found for n in self._objectives) else None

    def _known(self, trial: TrialRecord) -> Mapping[str, float]:
        judged, skipped = self.record.judged(trial.number, SELECTION), self.record.skipped(trial.number)
        found = known(trial, judged, skipped, self.record.reached(trial.number)).values
        return _of_the_whole(trial, found) if trial.outcome == "stopped" else found

    def _violations(self, place: int) -> Mapping[str, float]:
        """By constraint, how far it is missed in the mean over the trials that have values, as shares: samplers add them up.

        Of one that was stopped, by what its rung measured: every constraint has a number, as samplers that fit models need it.
        """
        limits = self.sweep.constraints
        missed = [
            shares(self._known(trial), limits)
            for each in self._trials[place]
            if self._values(each) is not None and (trial := self.record.trial(each))
        ]
        return mean(missed, dict.fromkeys(limits, "min"))

    def _worst_of(self, name: str) -> float:
        if is_share(name):
            return 0.0 if self._objectives[name] == "max" else 1.0
        return self._worst.get(name, 0.0)

    def _seen(self, name: str, values: list[float]) -> None:
        """Keeps the worst number of an objective; those that failed move with it."""
        pick = min if self._objectives[name] == "max" else max
        worst = pick([*values, *([self._worst[name]] if name in self._worst else [])])
        if worst != self._worst.get(name):
            self._worst[name] = worst
            for place in self._hopeless:
                self._give_up(place)

    def _give_up(self, place: int) -> None:
        """All trials here failed: the worst there is, and as far outside every constraint as can be. A trial without them would
        be one that keeps to all.
        """
        self._put(place, {name: self._worst_of(name) for name in self._objectives}, shares({}, self.sweep.constraints))

    def _put(self, place: int, values: Mapping[str, float], violations: Mapping[str, float]) -> None:
        """Writes what a trial here has come to. One that has been told is written anew in place: it is ours alone."""
        trial = self._frozen(place)
        for name, value in violations.items():
            trial.system_attrs[f"{_CONSTRAINTS_KEY}:{name}"] = value
        numbers = [float(values[name]) for name in self._objectives]
        if trial.state is TrialState.RUNNING:
            self._study._storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, numbers)
            self.learnt += 1
        else:
            trial.values = numbers

    def _frozen(self, place: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[place]


def _of_the_whole(trial: TrialRecord, values: Mapping[str, float]) -> dict[str, float]:
    """What a stopped trial measured, its costs as of its whole training, at the pace that it had: beside trials that completed
    it would be cheap for having been stopped.
    """
    part = trial.epoch / trial.sent.epochs if trial.sent is not None and trial.epoch else 1.0
    return {name: value / part if name in COSTS else value for name, value in values.items()}
