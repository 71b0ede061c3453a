"""What counts say of probabilities: exact bounds that hold together (Clopper and Pearson, Biometrika 26, 1934)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from robustray.certify.radii import Floats

Counts: TypeAlias = NDArray[np.int64]


def lower(count: Counts, samples: int, level: float) -> Floats:
    """L with P(p >= L) >= 1 - level, for `count` of `samples` independent draws that each came out with probability p.

    0 for a count of 0; `level ** (1 / samples)` < 1 for one of all samples.
    """
    count = np.asarray(count)
    return np.where(count > 0, beta.ppf(level, np.maximum(count, 1), samples - count + 1), 0.0)


def upper(count: Counts, samples: int, level: float) -> Floats:
    """U with P(p <= U) >= 1 - level: one less the lower bound of all else."""
    count = np.asarray(count)
    return np.where(count < samples, beta.isf(level, count + 1, np.maximum(samples - count, 1)), 1.0)


class Shares(NamedTuple):
    """Bounds that hold at once: h_top is at least `top`, every other class' probability at most `second`."""

    top: Floats
    second: Floats


def shares(top: Counts, second: Counts, samples: int, classes: int, level: float) -> Shares:
    """Bounds of a class that was picked from other samples, and of all other classes, wrong together with probability
    `level` at most.

    By Bonferroni each class' bound has level / classes. The bound of the class that was counted second is the largest of all
    others', since counts are of one number of samples. It is also at most one less the top's bound, which alone is needed for
    two classes: that one has the whole level then.

    Args:
        top: [N] counts of the picked class. second: [N] the largest count of another. samples: how many were counted.
    """
    each = level / classes if classes > 2 else level
    least = lower(top, samples, each)
    most = 1 - least
    return Shares(least, np.minimum(most, upper(second, samples, each)) if classes > 2 else most)
