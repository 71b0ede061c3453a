"""Samplers, and how a parameter is asked of one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from robustray.seeding import derive
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter

AGAIN = 10
"""How often a sampler is asked where it draws what was tried."""
GENERATIONS = 6
"""That a budget of trials is meant for, where a sampler has generations."""
_SMALLEST, _LARGEST = 8, 50  # populations; the larger is Optuna's own


def sampler(sweep: Sweep, number: int, again: int = 0, *, name: str | None = None) -> BaseSampler:
    """A new sampler for one ask. One seeded sampler per process would repeat its first draws after every restart.

    Args:
        sweep: its `search` says which, and its seed.
        number: how many trials were sampled before. again: how often it was asked for this one. name: another one.
    """
    seed = sweep.search.seed
    own = derive(seed, "sampler", number, *([again] if again else [])) % 2**32
    match name or sweep.search.sampler:
        case "random":
            return RandomSampler(seed=own)
        case "nsga2":
            return _Nsga2(population_size=population(sweep.trials), seed=own)
        case "nsga3":
            with warnings.catch_warnings(category=ExperimentalWarning, action="ignore"):  # since Optuna 3.2
                return _Nsga3(population_size=population(sweep.trials), seed=own)
        case "gp":
            return GPSampler(seed=own, warn_independent_sampling=False)
        case "qmc":
            sequence = derive(seed, "sequence", *([again] if again else [])) % 2**32
            return Sobol([parameter.name for parameter in sweep.space], sequence, number)
        case _:
            return TPESampler(seed=own)


def samplers(sweep: Sweep, number: int, chances: int) -> Iterator[BaseSampler]:
    """Whom to ask for one trial, in order, until one draws what was not tried: the sampler, then chance.

    Args:
        sweep, number: as `sampler` has them. chances: how often chance is asked.
    """
    for again in range(AGAIN + chances):
        yield sampler(sweep, number, again, name=None if again < AGAIN else "random")


def population(trials: int) -> int:
    """How many trials make a generation: Optuna's 50 would leave most budgets in the first one, which is drawn at random."""
    return min(max(trials // GENERATIONS, _SMALLEST), _LARGEST)


class _Nsga2(NSGAIISampler):
    """NSGA-II (Deb et al., IEEE TEC 2002) whose parents are always those of today.

    Optuna keeps in the study who they were: what judging finds out later would count after a restart, and not without one.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The parents of a generation; none of the first."""
        return self.select_parent(study, generation) if generation else []


class _Nsga3(NSGAIIISampler):
    """NSGA-III (Deb and Jain, IEEE TEC 2014), likewise."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The parents of a generation; none of the first."""
        return self.select_parent(study, generation) if generation else []


FIRST_GENERATION = {kind._get_generation_key(): 0 for kind in (_Nsga2, _Nsga3)}
"""What marks a trial that no such sampler drew as one of the first, which later ones descend from."""


class Sobol(RandomSampler):
    """Point `number` of a scrambled Sobol sequence, a coordinate for each option of the space: it fills the space evenly, from
    the first trial on. Options of branches that are not taken leave their coordinate unused. Optuna's own sampler draws
    options of branches by chance, and all of them until a trial has ended.
    """

    def __init__(self, names: Sequence[str], seed: int, number: int) -> None:
        """Args: names: of all options. seed: of the sequence, the same for all its points."""
        from scipy.stats import qmc  # half a second

        super().__init__(seed=0)
        engine = qmc.Sobol(max(len(names), 1), seed=seed)
        if number:
            engine.fast_forward(number)
        self._point = dict(zip(names, engine.random(1)[0].tolist(), strict=False))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value at the point's coordinate."""
        return at(self._point[param_name], param_distribution)


def at(share: float, distribution: BaseDistribution) -> Any:
    """The value below which a share in [0, 1) of a distribution lies."""
    match distribution:
        case CategoricalDistribution() as wanted:
            return wanted.choices[int(share * len(wanted.choices))]
        case IntDistribution() as wanted if wanted.log:
            low, high = math.log(wanted.low - 0.5), math.log(wanted.high + 0.5)
            return min(max(round(math.exp(low + share * (high - low))), wanted.low), wanted.high)
        case IntDistribution() as wanted:
            return wanted.low + wanted.step * int(share * ((wanted.high - wanted.low) // wanted.step + 1))
        case FloatDistribution() as wanted if wanted.step is not None:
            steps = int((wanted.high - wanted.low) / wanted.step + 1e-9) + 1
            return min(wanted.low + wanted.step * int(share * steps), wanted.high)
        case FloatDistribution() as wanted if wanted.log:
            return min(math.exp(math.log(wanted.low) + share * math.log(wanted.high / wanted.low)), wanted.high)
        case FloatDistribution() as wanted:
            return wanted.low + share * (wanted.high - wanted.low)
        case other:
            raise TypeError(f"no value at a share of a {type(other).__name__}")


class Fixed(RandomSampler):
    """Suggests what it is told to."""

    def __init__(self, params: Mapping[str, object]) -> None:
        """Args: params: the value of every parameter that will be asked for."""
        super().__init__(seed=0)
        self._params = params

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The value that was given."""
        return self._params[param_name]


def suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    """The value that a trial's sampler gives to a parameter."""
    match parameter.distribution.to_optuna():
        case FloatDistribution() as wanted:
            return trial.suggest_float(parameter.name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
        case IntDistribution() as wanted:
            return trial.suggest_int(parameter.name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
        case CategoricalDistribution() as wanted:
            return trial.suggest_categorical(parameter.name, wanted.choices)
        case other:
            raise TypeError(f"{parameter.name}: no way to ask for a {type(other).__name__}")
