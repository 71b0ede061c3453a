"""How far cheap numbers order trials as the judge does: Kendall's tau-b, on the trials that got both.

A search steers by what training measures along the way. Where that orders trials as the judge would, little is lost by it;
where it does not, more trials must be let through to the judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.measures.metrics import ACCURACIES
from sweeps.record.facts import Rung, Snapshot, TrialRecord
from sweeps.standing import SELECTION, flagged

Array = NDArray[np.float64]
RESAMPLES, LEVEL = 1000, 0.95
_Z = 1.959964  # of the normal distribution, two-sided at LEVEL
_BLOCK = 100  # resamples at once
_FEWEST = 3


@dataclass(frozen=True)
class Pair:
    """One accuracy of one trial, twice.

    Attributes:
        rung: after which it was measured cheaply, by its index; None: of the checkpoint that counts, at the end of training.
        epoch: of that rung or checkpoint. look: whether it is a cheap look, which is no part of the training.
        cheap: a fraction, by the cheap attack of training. judged: the same by the judge, on the selection set.
    """

    metric: str
    rung: int | None
    trial: int
    cheap: float
    judged: float
    epoch: int = 0
    look: bool = False


@dataclass(frozen=True)
class Tau:
    """Kendall's tau-b of n pairs in [-1, 1], and the ends of its 95 % interval. nan: fewer than 3, or no order to agree on."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How one cheap measure agrees with the judge.

    Attributes:
        metric, rung: which, as `Pair` has them. tau: of the order.
        drop: cheap less judged, the mean over trials. largest, trial: the largest drop, and whose it is.
        epochs: the lowest and the highest of the trials'. look: whether they are looks.
    """

    metric: str
    rung: int | None
    tau: Tau
    drop: float
    largest: float
    trial: int
    epochs: tuple[int, int] = (0, 0)
    look: bool = False


def pairs(snapshot: Snapshot) -> list[Pair]:
    """Every cheap accuracy of trials that were judged in full on the selection set, paired with the judged one.

    Flagged trials are left out: their judged numbers may be wrong. Both accuracies are here, at the end of training and at
    every rung that the record knows.
    """
    doubtful, found = flagged(snapshot), list[Pair]()
    for trial in snapshot.trials:
        judged = snapshot.judged.get((trial.number, SELECTION))
        if judged is None or trial.number in doubtful:
            continue
        exact = {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
        rungs = [(rung.index, rung.metrics, rung.epoch, rung.look is not None) for rung in _before_the_end(trial)]
        found += [
            Pair(name, rung, trial.number, float(metrics[name]), exact[name], epoch, look)
            for rung, metrics, epoch, look in [(None, trial.metrics, trial.epoch, False), *rungs]
            for name in ACCURACIES
            if name in metrics and np.isfinite(metrics[name])
        ]
    return found


def _before_the_end(trial: TrialRecord) -> Sequence[Rung]:
    """The rungs of a trial that are not the end of its training over again."""
    rungs = trial.rungs
    again = (
        rungs
        and rungs[-1].look is None
        and all(rungs[-1].metrics.get(name) == trial.metrics.get(name) for name in ACCURACIES)
    )
    return rungs[:-1] if again else rungs


def audit(found: Iterable[Pair]) -> list[Agreement]:
    """Each cheap measure against the judge: the end of training first, then rungs from the last to the first."""
    groups: dict[tuple[str, int | None], list[Pair]] = {}
    for pair in found:
        groups.setdefault((pair.metric, pair.rung), []).append(pair)
    order = sorted(groups, key=lambda key: (ACCURACIES.index(key[0]), -np.inf if key[1] is None else -key[1]))
    return [_agreement(*key, groups[key]) for key in order]


def _agreement(metric: str, rung: int | None, group: list[Pair]) -> Agreement:
    drops = [pair.cheap - pair.judged for pair in group]
    at = int(np.argmax(drops))
    order = tau([pair.cheap for pair in group], [pair.judged for pair in group])
    epochs = [pair.epoch for pair in group]
    drop, ends = float(np.mean(drops)), (min(epochs), max(epochs))
    return Agreement(metric, rung, order, drop, drops[at], group[at].trial, ends, group[0].look)


def tau(x: ArrayLike, y: ArrayLike, *, seed: int = 0) -> Tau:
    """Kendall's tau-b of values [n] and its 95 % interval.

    tau-b = (C - D) / sqrt((C + D + T_x)(C + D + T_y)): C pairs of trials in the same order in both, D in opposite order, T_x
    tied in x alone and T_y in y alone.

    The interval holds the percentiles over resamples (Efron, Annals of Statistics 1979; those in which a column is constant
    say nothing) and tau-b +- 1.96 s, cut to [-1, 1], s = `error_without_order` of n. A perfect order is perfect in every
    resample, so that resamples alone would be certain of 3 trials as of 300; s knows how many there are.

    Args:
        seed: of the resamples.
    """
    one, other = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    n = len(one)
    if n < _FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return Tau(n, np.nan, np.nan, np.nan)
    value = float(kendall(one, other, np.ones((1, n)))[0])
    rng = np.random.default_rng(seed)
    drawn = [
        kendall(one, other, rng.multinomial(n, np.full(n, 1 / n), _BLOCK).astype(float))
        for _ in range(RESAMPLES // _BLOCK)
    ]
    low, high = np.nanpercentile(np.concatenate(drawn), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    half = _Z * error_without_order(n)
    return Tau(n, value, max(-1.0, min(float(low), value - half)), min(1.0, max(float(high), value + half)))


def error_without_order(n: int) -> float:
    """The standard error of Kendall's tau of n pairs where there is no order and no tie: sqrt(2 (2 n + 5) / (9 n (n - 1)))."""
    return math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))


def kendall(x: Array, y: Array, times: Array) -> Array:
    """Kendall's tau-b [R] of R resamples of values [n]; `times` [R, n] say how often a resample has each row.

    nan where a column is constant in the resample.
    """
    signs_x, signs_y = (np.sign(each[:, None] - each[None, :]) for each in (x, y))
    return ratio(_over_pairs(signs_x * signs_y, times), _over_pairs(signs_x**2, times) * _over_pairs(signs_y**2, times))


def ratio(above: Array, below: Array) -> Array:
    """above / sqrt(below) of a coefficient; nan where that is zero."""
    found: Array = np.divide(above, np.sqrt(below), out=np.full(len(above), np.nan), where=below > 0)
    return found


def _over_pairs(signs: Array, times: Array) -> Array:
    """Sums over pairs of rows in each resample [R] of what `signs` [n, n] says of a pair."""
    total: Array = ((times @ signs) * times).sum(1)
    return total
