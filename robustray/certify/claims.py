"""Which images a radius is claimed for: each at its own confidence, or all claims at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from robustray.certify.radii import Floats

Radii = Callable[[float], Floats]
"""Radii [N] that each are right but with probability `level`; none grows as the level falls."""


def by_image(radii: Floats, radius: float) -> NDArray[np.bool_]:
    """[N] whether the class stands within `radius`, image by image. One of radius 0 is abstained from: nothing is claimed."""
    return np.asarray((radii > 0) & (radii >= radius))


def all_at_once(radii: Radii, level: float, at: Floats) -> NDArray[np.bool_]:
    """[R, N] what is claimed at each radius so that with probability 1 - level every claim at that radius holds.

    Holm's step-down (Scand. J. Statistics 6, 1979) over the hypotheses that an image's class falls within r, whose p-value is
    the lowest level at which its radius reaches r: of N hypotheses the j-th smallest p-value has to be at most
    level / (N - j + 1), and all before it. Every claim is one that `by_image` makes at `level`.

    Args:
        at: [R] radii.
    """
    level_of = cache(lambda left: radii(level / left))
    claimed = []
    for radius in at:
        images, done = len(level_of(1)), 0
        found = np.zeros(images, np.bool_)
        while done < images:
            found = by_image(level_of(images - done), float(radius))
            if int(found.sum()) <= done:
                break
            done = int(found.sum())
        claimed.append(found)
    return np.array(claimed, dtype=np.bool_).reshape(len(at), -1)
