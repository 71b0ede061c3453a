"""PED-ANOVA: how much of being among the best one option explains by itself."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import words
from analysis.pareto import Z
from analysis.search.sample import Option, is_number

if TYPE_CHECKING:
    from optuna.distributions import FloatDistribution, IntDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Array = NDArray[np.float64]
BEST = 0.2
"""The share of settings that counts as the best, but at least `FEWEST_BEST` of them, as Optuna advises."""
FEWEST_BEST = 5
_SUBSAMPLES, _KEPT = 20, 2 / 3


@dataclass(frozen=True)
class PedAnova:
    """Settings that share their options.

    Attributes:
        rows: n. study: numbers [n] as Optuna sees them, in order. named: by option that takes names, which each setting has.
    """

    rows: int
    options: tuple[str, ...]
    study: Study
    named: Mapping[str, NDArray[np.int64]]

    @classmethod
    def of(cls, raw: pd.DataFrame, options: Sequence[Option]) -> PedAnova:
        """Writes them down.

        Args:
            raw: [n rows] options as they were handed out, none missing in those asked for. options: those.
        """
        from optuna.storages import InMemoryStorage
        from optuna.study import Study, StudyDirection
        from optuna.trial import create_trial

        columns = tuple(each.column for each in options)
        named = {name: pd.factorize(raw[name].map(words.value))[0] for name in columns if not is_number(raw[name])}
        ranges = {each.column: _range(raw[each.column], each) for each in options if each.column not in named}
        values = {name: [type(each.low)(value) for value in raw[name]] for name, each in ranges.items()}
        storage, name = InMemoryStorage(), "options"
        storage.create_new_study([StudyDirection.MINIMIZE], name)
        study = Study(name, storage)
        study.add_trials(
            [
                create_trial(
                    params={name: of[row] for name, of in values.items()}, distributions=dict(ranges), value=0.0
                )
                for row in range(len(raw))
            ]
        )
        return cls(len(raw), columns, study, named)

    def shares(self, places: Array) -> Array:
        """[options] the share of the variance of being among the best that each explains alone, in about [0, 1].

        PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): D, the Pearson divergence of an option's density among the best
        settings from that among all of them. With a share q of best settings, being one of them has variance q (1 - q), of
        which the option's marginal mean has q^2 D. Numbers are Optuna's, with kernels. Names are counted here, with one
        more setting that is spread over all of them: Optuna's kernels stay as wide with 400 settings as with 4, by which a
        choice that decides everything comes to a quarter of what it is.

        Args:
            places: [n] of the settings, 0 the best; nan leaves one out.
        """
        from optuna.importance import PedAnovaImportanceEvaluator

        there = np.isfinite(places)
        known = np.sort(places[there])
        quantile = min(max(BEST, FEWEST_BEST / len(known)), 0.5)
        last = known[math.ceil(quantile * len(known)) - 1]
        q = float((known <= last).mean())
        if q == 1:  # all are the best
            return np.zeros(len(self.options))

        def place(trial: FrozenTrial) -> float:
            return float(places[trial.number])

        found = {name: q**2 * _divergence(codes, places <= last, there) for name, codes in self.named.items()}
        if len(found) < len(self.options):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that less is better is known here
                found |= PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(self.study, target=place)
        return np.array([found[name] for name in self.options]) / (q * (1 - q))

    def with_ends(self, places: Array) -> Array:
        """[options, 3] shares and the ends of their 95 % intervals, by leaving out settings.

        The variance is that of the delete-d jackknife (Shao and Wu, Annals of Statistics 1989): over subsamples without
        replacement of m of n settings, m / (n - m) times that of their shares. A bootstrap would not do: settings that it
        draws twice look to a density like something to be explained.

        Args:
            places: [n] of the settings, 0 the best.
        """
        whole, kept = self.shares(places), round(_KEPT * self.rows)
        generator = np.random.default_rng(0)
        drawn = []
        for _ in range(_SUBSAMPLES):
            some = np.full(self.rows, np.nan)
            at = generator.permutation(self.rows)[:kept]
            some[at] = places[at]
            drawn.append(self.shares(some))
        half = Z * np.sqrt(kept / (self.rows - kept)) * np.std(drawn, axis=0, ddof=1)
        return np.asarray(np.clip(np.stack([whole, whole - half, whole + half], axis=1), 0.0, 1.0))


def _divergence(codes: NDArray[np.int64], best: NDArray[np.bool_], there: NDArray[np.bool_]) -> float:
    """Pearson's divergence of names among the best from names among all: sum_c p_c (b_c / p_c - 1)^2."""
    names = int(codes.max()) + 1
    of_best, of_all = (
        (np.bincount(codes[some], minlength=names) + 1 / names) / (some.sum() + 1) for some in (best & there, there)
    )
    return float(((of_best - of_all) ** 2 / of_all).sum())


def _range(values: pd.Series[Any], option: Option) -> IntDistribution | FloatDistribution:
    """The range of what was tried: a space's own can have been changed along the way."""
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high = values.min(), values.max()
    if pd.api.types.is_integer_dtype(values):
        return IntDistribution(int(low), int(high), log=option.log)
    return FloatDistribution(float(low), float(high), log=option.log)
