"""Which options mattered: for each objective, and for being on the frontier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.pareto import CONFIDENCE
from analysis.search.forest import Forest, share_explained
from analysis.search.ped_anova import PedAnova
from analysis.search.sample import FEWEST, MEMBER, Option, Sample, order

Array = NDArray[np.float64]
RESAMPLES = 1000
COLUMNS = [
    "target", "option", "settings", "conditional", "alone", "alone_low", "alone_high", "permuted", "permuted_low",
    "permuted_high", "fit",
]  # fmt: skip


@dataclass(frozen=True)
class _Branch:
    """Settings [k] that have the same options."""

    settings: NDArray[np.int64]
    ped: PedAnova


@dataclass(frozen=True)
class Importance:
    """What each option is worth, and the models that say so, by target."""

    table: pd.DataFrame
    forests: Mapping[str, Forest]


def importance(of: Sample, objectives: Mapping[str, str]) -> Importance:
    """Two measures of each option that varies, for each objective and for `MEMBER`, the frontier.

    The table has a row per target and option, and columns

    - `settings`: how many have the option, and are looked at: all, or where it is `conditional` those of its branch. What is
      said of it is then said within the branch, and what the branch itself is worth stands with the option that chooses;
    - `alone`: the share of being among the best fifth that the option explains by itself (`PedAnova.shares`); `alone_low`,
      `alone_high` by leaving out settings;
    - `permuted`: the share of the target's variance that is lost when the option's values are exchanged between settings,
      with all that it does together with others: mean growth of a forest's squared error on settings its trees have not
      seen, over twice the variance, which of an exact model is the total Sobol' index. `permuted_low`, `permuted_high` by
      a bootstrap over settings, with the forest as it is;
    - `fit`: R2 of that forest on settings its trees have not seen. Where it is near zero or below, `permuted` says nothing.

    Shares are fractions and so are the ends of their intervals: what is estimated below 0 or above 1, which no share is, is
    cut; nan where fewer than `FEWEST` settings have the option. Intervals are at 95 %.

    Raises:
        ValueError: the sample is too small.
    """
    if not of.enough:
        raise ValueError(f"{len(of.settings)} settings are too few to say which options mattered; it takes {FEWEST}")
    rows, forests, branches = [], dict[str, Forest](), _branches(of)
    for target in (*objectives, MEMBER):
        y = of.y[target].to_numpy(dtype=float)
        forest = forests[target] = Forest.fit(of.x, y)
        places = order(of, target, objectives)
        alone = dict[str, Array]()
        for branch in branches:
            alone |= dict(zip(branch.ped.options, branch.ped.with_ends(places[branch.settings]), strict=True))
        for option in of.options:
            name, n = option.column, int(option.active.sum())
            row = [target, name, n, option.conditional]
            rows.append([*row, *alone.get(name, [np.nan] * 3), *_permuted(forest, option)])
    return Importance(pd.DataFrame(rows, columns=COLUMNS), forests)


def _branches(of: Sample) -> list[_Branch]:
    """Options that the same settings have, where those are enough."""
    groups: dict[bytes, list[Option]] = {}
    for option in of.options:
        groups.setdefault(option.active.tobytes(), []).append(option)
    found = []
    for options in groups.values():
        at = np.flatnonzero(options[0].active)
        if len(at) >= FEWEST:
            raw = of.raw[[option.column for option in options]].iloc[at].reset_index(drop=True)
            found.append(_Branch(at, PedAnova.of(raw, options)))
    return found


def _permuted(forest: Forest, option: Option) -> list[float]:
    """The share, the ends of its interval, and R2 among the settings that have the option."""
    rows = option.active
    y = forest.y[rows]
    if len(y) < FEWEST or y.var() == 0:
        return [np.nan] * 4
    grown = forest.permuted(option.places, rows)
    drawn = np.random.default_rng(0).integers(len(y), size=(RESAMPLES, len(y)))
    variances = y[drawn].var(axis=1)
    shares = grown[drawn].mean(axis=1)[variances > 0] / (2 * variances[variances > 0])
    value, low, high = np.clip([grown.mean() / (2 * y.var()), *_ends(shares)], 0.0, 1.0).tolist()
    return [value, low, high, share_explained(forest.errors[rows], y)]


def _ends(drawn: Array) -> Array:
    tail = (1 - CONFIDENCE) / 2
    return np.asarray(np.quantile(drawn, [tail, 1 - tail]))
