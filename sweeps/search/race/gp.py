"""A Gaussian process over settings: Matern 5/2, one length per input, for several outputs at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_NOISE = (-4.0, 2.0)  # mean and spread of log noise, as a share of the signal's variance
_JITTER = 1e-8
_STEPS = 12


@dataclass(frozen=True)
class Hyper:
    """Log lengths [d] and log noise over signal."""

    lengths: Array
    noise: float

    @classmethod
    def usual(cls, width: int, length: float = 0.0) -> Hyper:
        """Before anything was fitted: the means of their priors. Args: length: of a log length."""
        return cls(np.full(width, length), _NOISE[0])


class GP:
    """The posterior of f_j given y_j = f_j(x) + noise, outputs j independent with one kernel.

    y is centred and scaled per output to z; f ~ GP(0, s_j^2 k), k Matern 5/2 with r^2 = sum_d ((x_d - x'_d) / l_d)^2, noise
    variance s_j^2 v, and s_j^2 = (z'(K + v)^-1 z + 1) / (n + 1), the mode under a weak prior at 1.
    """

    def __init__(self, x: Array, y: Array, hyper: Hyper) -> None:
        """Args: x: [n, d]. y: [n, m]. hyper: as fitted."""
        from scipy.linalg import cho_factor, lapack

        n = len(x)
        self._scaled = x / np.exp(hyper.lengths)
        self._mean = y.mean(0)
        self._spread = _spread(y)
        z = (y - self._mean) / self._spread
        covariance = matern(self._scaled, self._scaled)
        covariance[np.diag_indices(n)] += np.exp(hyper.noise) + _JITTER
        factor, _ = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._root = np.asfortranarray(
            np.tril(lapack.dtrtri(factor, lower=1)[0])
        )  # L^-1: predictions are products, faster than solving
        white = self._root @ z
        self._weights = self._root.T @ white
        self._signal = ((white**2).sum(0) + 1) / (n + 1)
        self._hyper = hyper

    def mean(self, x: Array) -> Array:
        """[n, m] of the posterior at x [n, d]."""
        cross = matern(x / np.exp(self._hyper.lengths), self._scaled)
        found: Array = self._mean + self._spread * (cross @ self._weights)
        return found

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and variance [n, m] of f at x [n, d]: of what is true of a setting, without the noise of one training."""
        from scipy.linalg.blas import dtrmm

        cross = matern(x / np.exp(self._hyper.lengths), self._scaled)
        mean = self._mean + self._spread * (cross @ self._weights)
        shrunk = dtrmm(1.0, self._root, cross.T, lower=1, overwrite_b=1)  # half of a product's work, and no copy
        left = np.maximum(1 - np.einsum("ij,ij->j", shrunk, shrunk), 0)
        return mean, left[:, None] * (self._spread**2 * self._signal)


def fit(x: Array, y: Array, length: float = 0.0) -> Hyper:
    """Hyperparameters of largest posterior density, from the means of their priors on: log length ~ N(length, 1), log noise ~
    N(-4, 2^2).

    Args:
        x: [n, d]. y: [n, m]. length: the prior's mean of a log length.
    """
    from scipy.optimize import minimize

    z = (y - y.mean(0)) / _spread(y)
    start = np.append(np.full(x.shape[1], length), _NOISE[0])
    found = minimize(
        negative_log_posterior,
        start,
        args=(x, z, length),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-5.0, 5.0)] * x.shape[1] + [(-12.0, 3.0)],
        options={"maxiter": _STEPS},
    )
    return Hyper(found.x[:-1], float(found.x[-1]))


def negative_log_posterior(point: Array, x: Array, z: Array, length: float) -> tuple[float, Array]:
    """Up to a constant, with its gradient; the signal's variance is at its mode.

    Args:
        point: [d + 1] log lengths and log noise. x: [n, d]. z: [n, m]. length: the prior's mean of a log length.
    """
    from scipy.linalg import cho_factor, cho_solve

    n, m = z.shape
    lengths, noise = np.exp(point[:-1]), np.exp(point[-1])
    scaled = x / lengths
    distance = _distance(scaled, scaled)
    decay = np.exp(-distance)
    covariance = (1 + distance + distance**2 / 3) * decay
    covariance[np.diag_indices(n)] += noise + _JITTER
    factor = cho_factor(covariance, lower=True, check_finite=False)
    inverse = cho_solve(factor, np.eye(n), check_finite=False)
    weights = inverse @ z
    signal = ((z * weights).sum(0) + 1) / (n + 1)
    off = np.append((point[:-1] - length), (point[-1] - _NOISE[0]) / _NOISE[1])
    value = (n + 1) / 2 * np.log(signal).sum() + m * np.log(np.diag(factor[0])).sum() + (off**2).sum() / 2
    slope = m * inverse - (weights / signal) @ weights.T
    # d k / d log l_d = 5/3 (1 + sqrt5 r) exp(-sqrt5 r) (x_d - x'_d)^2 / l_d^2
    pulled = slope * ((1 + distance) * decay) * (5 / 3)
    by_length = pulled.sum(0) @ scaled**2 - (scaled * (pulled @ scaled)).sum(0)
    by_noise = noise * np.trace(slope) / 2
    return float(value), np.append(by_length + off[:-1], by_noise + off[-1] / _NOISE[1])


def matern(a: Array, b: Array) -> Array:
    """[n, k] (1 + t + t^2 / 3) exp(-t), t = sqrt(5) |a - b|, of rows [n, d] and [k, d] in units of their lengths."""
    distance = _distance(a, b)
    found: Array = distance / 3  # in place from here on: most of a decision's time is spent in this function
    found += 1
    found *= distance
    found += 1
    np.negative(distance, out=distance)
    found *= np.exp(distance, out=distance)
    return found


def _distance(a: Array, b: Array) -> Array:
    """sqrt(5) times the distance of each row of one to each of the other."""
    found: Array = a @ (-10 * b.T)
    found += 5 * (a**2).sum(1)[:, None]
    found += 5 * (b**2).sum(1)
    np.maximum(found, 0, out=found)
    return np.sqrt(found, out=found)


def _spread(y: Array) -> Array:
    found: Array = np.maximum(y.std(0), 1e-9)
    return found
