"""When a setting near the frontier is worth another training seed: in the second half of a search that is luck's share.

What a trial measures holds the luck of its seed, and the best of many are those that had most of it. Late in a search that
blurs the frontier more than what is still unexplored, so every third trial trains again what may well be on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from robustray.measures.metrics import is_share
from robustray.seeding import derive
from sweeps.chances import nondominated
from sweeps.frontier import minimised, ranks, undominated
from sweeps.record import Record
from sweeps.space import Sweep
from sweeps.space.templates import count

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


def due(replicates: int, *, spent: float, budget: float) -> bool:
    """Whether it is a replicate's turn.

    Args:
        replicates: that were begun.
        spent, budget: in trials, or in whole trainings where trials are paused.
    """
    return EVERY * (replicates + 1) <= spent - math.ceil(BEGIN * budget) + 1


def squares(seeds: Sequence[Mapping[str, float]], objectives: Mapping[str, str]) -> NDArray[np.float64]:
    """[m] sum over the seeds of a setting of squared distances from their mean."""
    rows = minimised(seeds, objectives)
    return np.asarray(((rows - rows.mean(axis=0)) ** 2).sum(axis=0))


def seed_sd(squares: NDArray[np.float64], freedom: int, objectives: Mapping[str, str]) -> NDArray[np.float64]:
    """[m] standard deviation of each objective from one training seed to the next, pooled over settings with several:

        s^2 = (w s_0^2 + sum_g sum_s (v_gs - v_g.)^2) / (w + sum_g (S_g - 1))

    s_0 and w: `PRIOR_SD` and its weight. What is no share of images, a cost, has no prior, and 0 while it has no replicates.

    Args:
        squares: [m] the sum of squares. freedom: the sum of S_g - 1.
    """
    weight = np.where([is_share(name) for name in objectives], PRIOR_WEIGHT, 0.0)
    return np.asarray(np.sqrt((weight * PRIOR_SD**2 + squares) / np.maximum(weight + freedom, 1.0)))


def chances(
    values: NDArray[np.float64], seeds: NDArray[np.int64], sd: NDArray[np.float64], *, seed: int
) -> NDArray[np.float64]:
    """[n] probability that no other setting dominates one, where the mean over its seeds is off by N(0, sd^2 / seeds).

    Settings that are dominated by more than four standard deviations are left out: theirs is 0, and they bear on no other.

    Args:
        values: [n, m] means over seeds, all better when smaller. seeds: [n] how many.
        sd: [m], of one seed. seed: of the draws.
    """
    found = np.zeros(len(values))
    if not len(values):
        return found
    errors = sd / np.sqrt(seeds[:, None])
    front = undominated(values)
    low, high = values - _FAR * errors, values[front] + _FAR * errors[front]
    kept = np.arange(len(values))
    for row in high:
        kept = kept[~(row < low[kept]).all(axis=1)]
    if len(kept) > _MOST:
        kept = kept[np.argsort(ranks(values[kept]), kind="stable")[:_MOST]]
    drawn = np.random.default_rng(seed).standard_normal((_DRAWS, len(kept), len(sd)))
    found[kept] = nondominated(values[kept] + errors[kept] * drawn)
    return found


def draw_seed(sweep: Sweep, number: int) -> int:
    """The seed of the draws. Args: number: of trials that were sampled before."""
    return derive(sweep.search.seed, "replicates", number) % 2**32
