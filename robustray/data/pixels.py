"""Statistics of pixels, exact: from counts of the 256 values, in whole numbers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 256
"""Images looked at in one go: memory-mapped sets never lie in memory whole, and counting stays inside the caches."""


def histogram(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each value occurs in each channel: uint8 [N, H, W, C] to int64 [C, 256]."""
    counts = np.zeros((images.shape[-1], 256), dtype=np.int64)
    for start in range(0, len(images), AT_ONCE):
        for channel, count in enumerate(counts):
            count += np.bincount(images[start : start + AT_ONCE, ..., channel].ravel(), minlength=256)
    return counts


def moments(counts: NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel, in pixels of [0, 1].

    With n_v pixels of value v, n = sum n_v and s_k = sum v^k n_v:  mean = s_1 / 255 n,  std = sqrt(n s_2 - s_1^2) / 255 n.
    """
    mean, std = [], []
    for channel in counts.tolist():  # Python's whole numbers: n s_2 leaves int64 behind
        n, s1, s2 = (sum(value**k * count for value, count in enumerate(channel)) for k in range(3))
        mean.append(s1 / (255 * n))
        std.append(math.sqrt(n * s2 - s1 * s1) / (255 * n))
    return mean, std
