"""Samplers, and how a parameter is asked of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from robustray.seeding import derive
from sweeps.space.distributions import Parameter

AGAIN = 10
"""How often a sampler is asked where it draws what was tried."""


def sampler(name: str, seed: int, number: int, again: int = 0) -> BaseSampler:
    """A new sampler for one ask. One seeded sampler per process would repeat its first draws after every restart.

    Args:
        seed: of the search. number: how many trials were sampled before. again: how often it was asked for this one.
    """
    own = derive(seed, "sampler", number, *([again] if again else [])) % 2**32
    return RandomSampler(seed=own) if name == "random" else TPESampler(seed=own)


def samplers(name: str, seed: int, number: int, chances: int) -> Iterator[BaseSampler]:
    """Whom to ask for one trial, in order, until one draws what was not tried: the sampler, then chance.

    Args:
        seed, number: as `sampler` has them. chances: how often chance is asked.
    """
    for again in range(AGAIN + chances):
        yield sampler(name if again < AGAIN else "random", seed, number, again)


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
