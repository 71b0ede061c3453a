"""Who dominates whom, for any number of objectives. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustray.measures.metrics import is_share

Values = Mapping[str, float]
K = TypeVar("K", bound=Hashable)
_LARGEST = 10**7
"""Denominators up to here are told apart: two fractions c/n differ by 1e-14 or more, and a float near 1 by 1e-16."""


def dominates(a: Values, b: Values, objectives: Mapping[str, str]) -> bool:
    """Whether a is at least as good as b in every objective and better in one. Equals do not dominate each other."""
    signs = {name: 1 if mode == "max" else -1 for name, mode in objectives.items()}
    gains = [signs[name] * (a[name] - b[name]) for name in objectives]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def non_dominated(points: Mapping[K, Values], objectives: Mapping[str, str]) -> list[K]:
    """Keys of the points that no other point dominates; of equal points all stay."""
    keep = undominated(minimised(list(points.values()), objectives))
    return [key for key, kept in zip(points, keep.tolist(), strict=True) if kept]


def undominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows no other row dominates; of equal rows all stay.

    Args:
        values: [n, m], all better when smaller; a row with a nan takes no part.

    Returns:
        [n]
    """
    result = np.zeros(len(values), dtype=np.bool_)
    known = ~np.isnan(values).any(axis=1)
    if known.any():
        result[known] = moocore.is_nondominated(values[known], keep_weakly=True)
    return result


def ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """[n] 0 for the non-dominated rows of [n, m], all better when smaller; 1 for those among the rest; and so on."""
    if not len(values):
        return np.zeros(0, np.int64)
    return np.asarray(moocore.pareto_rank(values), dtype=np.int64)


def mean(points: Sequence[Values], objectives: Mapping[str, str]) -> dict[str, float]:
    """The mean of each objective, rounded once: equal means of counts are equal numbers, so rounding decides no tie."""
    if len(points) == 1:
        return {name: float(points[0][name]) for name in objectives}
    return {name: _mean(tuple(point[name] for point in points)) for name in objectives}


@lru_cache(maxsize=2**14)  # a search that trains settings again asks for the same means before every trial
def _mean(values: tuple[float, ...]) -> float:
    if not all(map(math.isfinite, values)):
        return float(np.mean(values))
    return float(sum(map(_exact, values), Fraction()) / len(values))


@lru_cache(maxsize=2**14)  # accuracies are shares of some hundred images
def _exact(value: float) -> Fraction:
    """The fraction with a small denominator that a number is the rounding of: 7/10 for 0.7; else the number as it is."""
    near = Fraction(value).limit_denominator(_LARGEST)
    return near if float(near) == value else Fraction(value)


def minimised(points: Sequence[Values], objectives: Mapping[str, str]) -> NDArray[Any]:
    """[n, m] numbers that are all better when smaller."""
    signs = [(name, -1.0 if mode == "max" else 1.0) for name, mode in objectives.items()]
    rows = [[sign * point[name] for name, sign in signs] for point in points]
    return np.array(rows, dtype=float).reshape(len(points), len(signs))


def attained(values: ArrayLike, objectives: Mapping[str, str], worst: Mapping[str, float]) -> float:
    """Share of the box from the worst corner to the ideal one that these points dominate, in [0, 1]: their hypervolume.

    The corner is 0 for what is maximised (and its largest value is 1 or `worst`), `worst` for what is minimised (and 0 is
    ideal). Shares of images end at 0 and 1 in any sweep. Of two accuracies it is the area under the frontier.

    Args:
        values: [n, m], in the order of the objectives.
        worst: of objectives that are no shares, the largest value; 1 where there is none above 0.

    Raises:
        ValueError: a value is missing (nan).
    """
    points = np.array(values, dtype=float).reshape(-1, len(objectives))
    if not len(points):
        return 0.0
    if np.isnan(points).any():
        raise ValueError("a hypervolume needs points without missing values")
    largest = {name: 1.0 if is_share(name) else worst.get(name, 1.0) for name in objectives}
    points /= np.array([scale if scale > 0 else 1.0 for scale in largest.values()])
    maximise = [mode == "max" for mode in objectives.values()]
    corner = np.where(maximise, 0.0, 1.0)
    return float(moocore.hypervolume(points, ref=corner, maximise=maximise))
