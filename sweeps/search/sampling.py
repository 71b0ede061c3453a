"""Samplers, and how a parameter is asked of one."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from robustray.seeding import derive
from sweeps.space.distributions import Parameter


def sampler(name: str, seed: int, number: int) -> BaseSampler:
    """A new sampler for one ask. One seeded sampler per process would repeat its first draws after every restart.

    Args:
        seed: of the search. number: how many trials were sampled before.
    """
    own = derive(seed, "sampler", number) % 2**32
    return RandomSampler(seed=own) if name == "random" else TPESampler(seed=own)


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
