"""Ask: what to try next, as a function of (sweep seed, trial number, the record so far)."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler

from robustray.seeding import derive
from sweeps.record import Record
from sweeps.space import Sweep
from sweeps.space.distributions import Parameter


def sampler(name: str, seed: int, number: int) -> BaseSampler:
    """A new sampler for one ask. One seeded sampler per process would repeat its first draws after every restart."""
    own = derive(seed, "sampler", number) % 2**32
    return RandomSampler(seed=own) if name == "random" else TPESampler(seed=own)


def ask(sweep: Sweep, record: Record) -> int:
    """Asks for the next trial, writes it to the record, and gives its number."""
    study = record.study
    study.sampler = sampler(sweep.search.sampler, sweep.search.seed, len(record.trials()))
    trial = study.ask()
    record.issue(trial, sweep.ask(lambda parameter: suggest(trial, parameter)))
    return trial.number


def suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    match parameter.distribution.to_optuna():
        case FloatDistribution() as wanted:
            return trial.suggest_float(parameter.name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
        case IntDistribution() as wanted:
            return trial.suggest_int(parameter.name, wanted.low, wanted.high, step=wanted.step, log=wanted.log)
        case CategoricalDistribution() as wanted:
            return trial.suggest_categorical(parameter.name, wanted.choices)
        case other:
            raise TypeError(f"{parameter.name}: no way to ask for a {type(other).__name__}")
