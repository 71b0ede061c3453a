"""Who dominates whom, for any number of objectives. Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import moocore
import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, float]
K = TypeVar("K", bound=Hashable)


def dominates(a: Values, b: Values, objectives: Mapping[str, str]) -> bool:
    """Whether a is at least as good as b in every objective and better in one. Equals do not dominate each other."""
    signs = {name: 1 if mode == "max" else -1 for name, mode in objectives.items()}
    gains = [signs[name] * (a[name] - b[name]) for name in objectives]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def non_dominated(points: Mapping[K, Values], objectives: Mapping[str, str]) -> list[K]:
    """Keys of the points that no other point dominates; of equal points all stay."""
    if not points:
        return []
    keep = moocore.is_nondominated(minimised(list(points.values()), objectives), keep_weakly=True)
    return [key for key, kept in zip(points, keep.tolist(), strict=True) if kept]


def ranks(points: Sequence[Values], objectives: Mapping[str, str]) -> list[int]:
    """0 for the non-dominated, 1 for what is non-dominated among the rest, and so on."""
    return [int(rank) for rank in moocore.pareto_rank(minimised(points, objectives)).tolist()] if points else []


def mean(points: Sequence[Values], objectives: Mapping[str, str]) -> dict[str, float]:
    """The mean of each objective. One point comes back as it is: rounding must not decide a tie."""
    if len(points) == 1:
        return {name: points[0][name] for name in objectives}
    return {name: float(np.mean([point[name] for point in points])) for name in objectives}


def minimised(points: Sequence[Values], objectives: Mapping[str, str]) -> NDArray[Any]:
    """[n, m] numbers that are all better when smaller."""
    return np.array([[-p[n] if mode == "max" else p[n] for n, mode in objectives.items()] for p in points], dtype=float)
