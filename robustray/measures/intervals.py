"""95 % intervals of what is measured."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.95


def share(count: float, of: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a probability from `count` in `of` independent draws (Wilson, JASA 22, 1927); (0, 1) of none."""
    if of < 1:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    p, weight = count / of, z * z / of
    middle, half = (p + weight / 2) / (1 + weight), z / (1 + weight) * math.sqrt(p * (1 - p) / of + weight / (4 * of))
    return max(min(middle - half, p), 0.0), min(max(middle + half, p), 1.0)  # p is inside, however the ends are rounded


def mean(values: ArrayLike) -> tuple[float, float] | tuple[None, None]:
    """Student's interval of the mean of independent values; none of fewer than two, or where one is not finite."""
    found = np.asarray(values, np.float64)
    if len(found) < 2 or not np.isfinite(found).all():
        return None, None
    from scipy import stats  # a second, which options and help do not wait for

    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(found) - 1)) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return float(found.mean()) - half, float(found.mean()) + half


def apart(a: tuple[float, float, float], b: tuple[float, float, float]) -> tuple[float, float]:
    """Newcombe's interval of a - b, each (value, low, high), of independent samples (Statistics in Medicine 17, 1998)."""
    gap = a[0] - b[0]
    return gap - math.hypot(a[0] - a[1], b[2] - b[0]), gap + math.hypot(a[2] - a[0], b[0] - b[1])
