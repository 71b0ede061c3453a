"""How good a frontier is in one number, and whether two differ by more than images or seeds explain. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis import paired, pareto

Floats = NDArray[np.float64]
Indicator = Callable[[Floats], float]
ALPHA = 0.05


@dataclass(frozen=True)
class Test:
    """A difference of an indicator between two searches, a - b.

    Attributes:
        value: it. low, high: its 95 % interval over images; nan where seeds were permuted.
        p: of no difference. how: `permutation of 5 + 5 searches`, `bootstrap of 497 images` (paired or not).
    """

    value: float
    low: float
    high: float
    p: float
    how: str


def hypervolume(points: ArrayLike) -> float:
    """Share of the square of both accuracies that the points dominate, from (0, 0): the area under the frontier."""
    return pareto.hypervolume(points, 0.0)


def epsilon(points: ArrayLike, reference: ArrayLike) -> float:
    """Additive epsilon: what the points lack, in every objective at once, to be as good as all of another set.

    max_r min_p max_i (r_i - p_i) (Zitzler et al., IEEE Transactions on Evolutionary Computation 2003), by moocore; fractions,
    all better when larger. 0 or less where the points are at least as good as each of the reference.

    Args:
        points: [n, m]. reference: [k, m].
    """
    values, others = np.asarray(points, dtype=float), np.asarray(reference, dtype=float)
    return float(moocore.epsilon_additive(values, ref=others, maximise=True))


def best_of(fronts: Sequence[Floats]) -> Floats:
    """The non-dominated points of all fronts: what each of them is measured against by its unary epsilon."""
    every = np.concatenate(list(fronts))
    return np.unique(every[pareto.nondominated(every)], axis=0)


def smallest_p(a: int, b: int) -> float:
    """The smallest two-sided p-value that permuting a + b searches can give."""
    return min(1.0, 2 / math.comb(a + b, a))


def enough(rows: int) -> int:
    """The least repetitions of each search by which seeds can show a difference, with so many rows adjusted by Holm's method.

    Args:
        rows: 1 or more.
    """
    return next(each for each in count(1) if rows * smallest_p(each, each) <= ALPHA)


def by_seeds(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Test:
    """Permutation test of the mean indicator of repeated searches (Fisher, 1935): exact where there are few.

    Which search a repetition belongs to is exchanged; what it holds is how a search's luck and the seeds of training vary.

    Args:
        a: [n] the indicator of each repetition of one search. b: [k] of the other. seed: where not all can be counted.
    """
    from scipy.stats import permutation_test

    def difference(x: Floats, y: Floats, axis: int = -1) -> Floats:
        return np.asarray(np.round(np.mean(x, axis=axis) - np.mean(y, axis=axis), paired.DIGITS))

    generator = np.random.default_rng(seed)
    samples = (np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    found = permutation_test(samples, difference, vectorized=True, n_resamples=9999, rng=generator)
    nothing = float("nan")
    return Test(
        float(found.statistic), nothing, nothing, float(found.pvalue), f"permutation of {len(a)} + {len(b)} searches"
    )


@dataclass(frozen=True, eq=False)
class Resampled:
    """An indicator of one frontier: its `value`, and [B] the same on resamples of the images."""

    value: float
    boot: Floats


def resampled(verdicts: Floats, indicator: Indicator, *, resamples: int = 1000, seed: int = 0) -> Resampled:
    """An indicator and its bootstrap over images, members as given.

    Args:
        verdicts: [k, 2, N] of the members.
        indicator: of points [k, 2].
        resamples: B. seed: of the draws; frontiers on the same images are drawn together by the same seed.
    """
    boot = [indicator(points) for points in paired.resample(verdicts, resamples=resamples, seed=seed)]
    return Resampled(indicator(verdicts.mean(axis=-1)), np.array(boot))


def by_images(a: Sequence[Resampled], b: Sequence[Resampled], *, images: int, shared: bool) -> Test:
    """Bootstrap over the images of the difference of mean indicators.

    An indicator of noisy points is too large on average, the more so the more points there are, and a resample adds the same
    noise once more: the interval is the basic one, [2 d - q_97.5, 2 d - q_2.5], which takes that off again (Davison and
    Hinkley, Bootstrap Methods and their Application, 1997, chapter 5). p is twice the smaller share of resamples beyond 2 d.

    Args:
        a: each repetition of one search. b: of the other.
        images: how many there are.
        shared: whether both were judged on the same ones and drawn by one seed: what is hard for both then cancels.
    """
    value = float(np.mean([each.value for each in a]) - np.mean([each.value for each in b]))
    mean_a, mean_b = (np.mean([each.boot for each in side], axis=0) for side in (a, b))
    boot = np.round(mean_a - mean_b, paired.DIGITS)
    tail = 100 * (1 - pareto.CONFIDENCE) / 2
    high, low = 2 * value - np.percentile(boot, [tail, 100 - tail])
    twice = round(2 * value, paired.DIGITS)
    beyond = min(int((boot >= twice).sum()), int((boot <= twice).sum()))
    p = min(1.0, 2 * (1 + beyond) / (1 + len(boot)))
    return Test(
        value, float(low), float(high), p, f"bootstrap of {images:,} images{'' if shared else ', not the same ones'}"
    )
