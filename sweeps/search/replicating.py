"""When a setting near the frontier is worth another training seed: in the second half of a search that is luck's share.

What a trial measures holds the luck of its seed, and the best of many are those that had most of it. Late in a search that
blurs the frontier more than what is still unexplored, so every third trial trains again what may well be on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.measures.metrics import is_share
from robustray.seeding import derive
from sweeps.frontier import mean, minimised, ranks, undominated
from sweeps.record import Record, Snapshot, TrialRecord
from sweeps.space import Sweep
from sweeps.space.templates import count
from sweeps.standing import SELECTION, flagged, known, settings, trusted

SEEDS, LEAST_TRIALS = 3, 48
"""What auto means: so many seeds of a setting near the frontier, in searches of so many trials that learn."""
LEARNING = ("auto", "tpe", "nsga2", "nsga3", "gp")
BEGIN, EVERY = 0.5, 3
"""Share of the budget before which none is trained again; of what is spent after that, one training in so many is."""
NEAR = 0.1
"""Probability of being non-dominated from which a setting is near the frontier."""
PRIOR_SD, PRIOR_WEIGHT = 0.01, 4.0
"""Standard deviation of an accuracy from seed to seed before any is known, and how many replicates it weighs. Small networks on
digits had .006 to .012."""
_DRAWS, _MOST, _FAR = 200, 128, 4.0
_SETTING = "replicates"


@dataclass(frozen=True)
class Standing:
    """A setting as far as its trials have ended."""

    setting: int  # its first trial
    values: Mapping[str, float]  # the exact mean over its seeds
    seeds: int  # those that have values
    begun: int  # at work and failed ones too: a setting that fails with other seeds is not tried for ever


def wanted(sweep: Sweep, record: Record) -> int:
    """How many seeds a setting near the frontier is to have; 0 for none.

    Decided once, with the first trial: a search that was begun without replicates goes on as it was begun.
    """
    if sweep.search.replicates != "auto":
        return sweep.search.replicates
    kept = record.setting(_SETTING)
    if kept is None and not record.trials() and (found := _auto(sweep)):
        kept = record.setting(_SETTING, found)
    return int(kept or 0)


def asked(sweep: Sweep) -> int:
    """What `wanted` will be of a sweep that begins."""
    return _auto(sweep) if sweep.search.replicates == "auto" else sweep.search.replicates


def _auto(sweep: Sweep) -> int:
    few = sweep.trials < LEAST_TRIALS or count(sweep.settings) <= sweep.trials  # or all of them can be tried
    return 0 if few or sweep.search.sampler not in LEARNING else SEEDS


def due(snapshot: Snapshot, *, spent: float, budget: float) -> bool:
    """Whether it is a replicate's turn.

    Args:
        spent, budget: in trials, or in whole trainings where trials are paused.
    """
    replicates = sum(trial.origin == "replicate" for trial in snapshot.trials)
    return EVERY * (replicates + 1) <= spent - math.ceil(BEGIN * budget) + 1


def next_replicate(snapshot: Snapshot, wanted: int, *, spent: float, budget: float, seed: int) -> int | None:
    """The setting to train with another seed now, by its first trial; None where a new setting is to be tried.

    Of those that are near the frontier and have fewer seeds than wanted, the one with the fewest; among these the one that is
    most probably non-dominated.

    Args:
        wanted: seeds of a setting near the frontier.
        spent, budget: as `due` has them.
        seed: of the draws.
    """
    if not wanted or not due(snapshot, spent=spent, budget=budget):
        return None
    standing = standings(snapshot)
    chances = nondominated(standing, snapshot.objectives, seed_sd(snapshot), seed=seed)
    near = [each for each in standing if chances.get(each.setting, 0.0) >= NEAR and each.begun < wanted]
    best = min(near, key=lambda each: (each.begun, -chances[each.setting], each.setting), default=None)
    return None if best is None else best.setting


def standings(snapshot: Snapshot) -> list[Standing]:
    """Settings with a trial that has completed and that may be on a frontier: no derived points, none flagged or infeasible."""
    outside, found = flagged(snapshot), []
    for setting, trials in settings(snapshot.trials).items():
        if len(trials) == 1 and trials[0].outcome != "complete":  # most of a search that stops trials early
            continue
        complete = [values for trial in trials if (values := _values(snapshot, trial)) is not None]
        if complete and trials[0].origin != "derived" and trusted(trials, outside):
            found.append(Standing(setting, mean(complete, snapshot.objectives), len(complete), len(trials)))
    return found


def seed_sd(snapshot: Snapshot) -> NDArray[np.float64]:
    """[m] standard deviation of each objective from one training seed to the next, pooled over settings with several:

        s^2 = (w s_0^2 + sum_g sum_s (v_gs - v_g.)^2) / (w + sum_g (S_g - 1))

    s_0 and w: `PRIOR_SD` and its weight. What is no share of images, a cost, has no prior, and 0 while it has no replicates.
    """
    shares = np.array([is_share(name) for name in snapshot.objectives])
    squares, freedom = np.zeros(len(shares)), 0
    again = {trial.setting for trial in snapshot.trials if trial.replicate_of is not None}
    for trials in settings(trial for trial in snapshot.trials if again and trial.setting in again).values():
        complete = [values for trial in trials if (values := _values(snapshot, trial)) is not None]
        if len(complete) > 1:
            rows = minimised(complete, snapshot.objectives)
            squares += ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
            freedom += len(complete) - 1
    weight = np.where(shares, PRIOR_WEIGHT, 0.0)
    return np.asarray(np.sqrt((weight * PRIOR_SD**2 + squares) / np.maximum(weight + freedom, 1.0)))


def nondominated(
    standing: Sequence[Standing], objectives: Mapping[str, str], sd: NDArray[np.float64], *, seed: int
) -> dict[int, float]:
    """Probability by setting that no other one dominates it, where the mean over n seeds is off by N(0, sd^2 / n).

    Settings that are dominated by more than four standard deviations are left out: theirs is 0, and they bear on no other.

    Args:
        sd: [m], in the order of the objectives. seed: of the draws.
    """
    if not standing:
        return {}
    values = minimised([each.values for each in standing], objectives)
    errors = sd / np.sqrt([[each.seeds] for each in standing])
    front = undominated(values)
    low, high = values - _FAR * errors, values[front] + _FAR * errors[front]
    kept = np.arange(len(values))
    for row in high:
        kept = kept[~(row < low[kept]).all(axis=1)]
    if len(kept) > _MOST:
        kept = kept[np.argsort(ranks(values[kept]), kind="stable")[:_MOST]]
    drawn = np.random.default_rng(seed).standard_normal((_DRAWS, len(kept), len(sd)))
    stands = np.mean([undominated(values[kept] + errors[kept] * each) for each in drawn], axis=0)
    return {standing[at].setting: float(share) for at, share in zip(kept.tolist(), stands, strict=True)}


def draw_seed(sweep: Sweep, number: int) -> int:
    """The seed of the draws. Args: number: of trials that were sampled before."""
    return derive(sweep.search.seed, "replicates", number) % 2**32


def _values(snapshot: Snapshot, trial: TrialRecord) -> Mapping[str, float] | None:
    """The objectives of a complete trial as they are known best."""
    if trial.outcome != "complete":
        return None
    number = trial.number
    judged, skipped = snapshot.judged.get((number, SELECTION)), snapshot.skipped.get(number)
    found = known(trial, judged, skipped, snapshot.reached.get(number)).values
    values = {name: found.get(name, math.nan) for name in snapshot.objectives}
    return values if all(map(math.isfinite, values.values())) else None
