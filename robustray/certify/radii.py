"""Radii within which a mixture keeps the class of its robust part, in closed form (Bai et al., arXiv:2301.12554).

The mixture is (1 - alpha) g + alpha h, of two functions that give distributions over classes. Where h's largest probability
is above its second by at least (1 - alpha) / alpha, the mixture's class is that of h whatever g says; so it stands as long as
that margin does. alpha = 1 is h alone.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats: TypeAlias = NDArray[np.float64]


def lipschitz_radius(top: Floats, second: Floats, alpha: float, constant: float) -> Floats:
    """r = max(0, alpha (h_top - h_2nd) + alpha - 1) / (2 alpha L), in the norm that L is of; 0 at alpha <= 1/2.

    Args:
        top, second: the two largest probabilities of h, or a lower bound of the one and an upper bound of the other.
        alpha: h's share of the mixture, in [0, 1].
        constant: L > 0, by how much a probability of h changes at most over a distance of 1.

    Raises:
        ValueError: alpha or L is out of range.
    """
    _in_range(alpha, constant)
    if alpha <= 0.5:
        return np.zeros(np.broadcast(top, second).shape)
    return np.maximum(0.0, alpha * (np.asarray(top) - second) + alpha - 1) / (2 * alpha * constant)


def noise_constant(sigma: float) -> float:
    """L = sqrt(2 / pi) / sigma in l2: what smoothing by N(0, sigma^2) makes of any function with values in [0, 1] (Salman et
    al., NeurIPS 2019, arXiv:1906.04584, lemma 1)."""
    return math.sqrt(2 / math.pi) / sigma


def smoothing_radius(top: Floats, second: Floats, alpha: float, sigma: float) -> Floats:
    """r = sigma / 2 max(0, Phi^-1(alpha h_top) - Phi^-1(alpha h_2nd + 1 - alpha)), l2 in pixels of [0, 1]; 0 at alpha <= 1/2.

    h(x) is the distribution of a classifier's answers to x + N(0, sigma^2). alpha = 1 gives Cohen et al. (ICML 2019,
    arXiv:1902.02918). Infinite for probabilities of 1 and 0 at alpha = 1, which no bound from counts is.

    Args:
        top, second: as in `lipschitz_radius`. sigma: deviation of the noise > 0, in pixels of [0, 1].

    Raises:
        ValueError: alpha or sigma is out of range.
    """
    _in_range(alpha, sigma)
    if alpha <= 0.5:
        return np.zeros(np.broadcast(top, second).shape)
    first, other = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(second, np.float64))
    radius = np.zeros(first.shape)
    ahead = first > other  # else there is no margin, and both terms may be infinite
    radius[ahead] = sigma / 2 * np.maximum(0.0, ndtri(alpha * first[ahead]) - ndtri(alpha * other[ahead] + (1 - alpha)))
    return radius


def needed(radius: Floats, alpha: float, sigma: float) -> Floats:
    """p*(r) = Phi(r / sigma) / alpha: the top probability from which on `smoothing_radius` is at least r > 0, where all that
    is known of the second is that it is at most 1 - h_top. Above 1 where no probability is enough."""
    return np.asarray(ndtr(np.asarray(radius) / sigma) / alpha)


def _in_range(alpha: float, scale: float) -> None:
    if not 0 <= alpha <= 1 or not 0 < scale < math.inf:
        raise ValueError(
            f"alpha must lie in [0, 1] and the scale be positive and finite, not alpha {alpha} and scale {scale}"
        )
