"""What a rung says of the next one: recursive co-kriging over the rungs of training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.search.race.gp import GP, Hyper, fit

Array = NDArray[np.float64]
FEWEST = 5
"""Values below which a rung has no process of its own, but a constant spread."""
_FIRST, _LATER = (0.3, -0.2), (0.1, 0.0)  # spread before anything was seen, and mean of a log length
_WEIGHT = 3  # of that spread, in values
_RIDGE = 4 * 0.15**2


@dataclass(frozen=True)
class Level:
    """What was measured at one rung.

    Attributes:
        x: [n, d] settings. y: [n, m] values, better when larger.
        before: [n, m] of the same trials at the rung before; nan where they have none.
    """

    x: Array
    y: Array
    before: Array


@dataclass(frozen=True)
class _Step:
    """f_l = a + B f_(l-1) + d_l."""

    a: Array
    b: Array
    spread: Array  # [m] variance of d_l where it has no process
    process: GP | None


class CoKriging:
    """f_1(x) = GP_1(x); f_l(x) = a_l + B_l f_(l-1)(x) + d_l(x) with d_l a Gaussian process of its own (Kennedy and O'Hagan,
    Biometrika 2000; recursive: Le Gratiet and Garnier, 2014).

    B_l is a ridge regression towards the identity of the values of a rung on z, what the model says of the rung before:
    B_l' = (Zc'Zc + lam)^-1 (Zc'Yc + lam), lam = 4 * 0.15^2, a_l = mean(y) - B_l mean(z). Nothing measured: a = 0, B = 1.
    A rung of fewer than 5 values has d_l = 0 with variance (3 s^2 + sum of squared residuals) / (3 + n), s = 0.1 (first: 0.3).
    """

    def __init__(
        self, levels: Sequence[Level], hypers: Sequence[Hyper | None] | None = None, *, own: bool = False
    ) -> None:
        """Args:
        levels: one a rung, in order.
        hypers: of each rung's process; None: they are fitted. An entry that is None: as before anything was fitted.
        own: whether z is what was measured at the rung before, where it was, and not what the model says of it.
        """
        self._steps: list[_Step] = []
        self._own = own
        self.hypers: list[Hyper | None] = []
        for place, level in enumerate(levels):
            given = None if hypers is None else hypers[place] or Hyper.usual(level.x.shape[1], _prior(place)[1])
            self._add(level, given)

    def mean(self, x: Array) -> Array:
        """[n, m] of the values at the last rung of settings [n, d]."""
        found = np.zeros(0)
        for place, step in enumerate(self._steps):
            process = step.process.mean(x) if step.process is not None else 0.0
            found = step.a + process + (found @ step.b.T if place else np.zeros((len(x), len(step.a))))
        return found

    def predict(self, x: Array, known: Array | None = None, upto: int | None = None) -> tuple[Array, Array]:
        """Mean and variance [n, m] of the values that settings [n, d] would have, without the noise of one training.

        Args:
            known: [n, rungs, m] what each measured, nan where nothing; read where the model goes by a trial's own values.
            upto: the index of the rung; the last one by default.
        """
        m = len(self._steps[0].a)
        mean, variance = np.zeros((len(x), m)), np.zeros((len(x), m, m))
        for place, step in enumerate(self._steps[: None if upto is None else upto + 1]):
            mean = step.a + (mean @ step.b.T if place else 0 * mean)
            variance = step.b @ variance @ step.b.T if place else variance
            if step.process is None:
                more = np.broadcast_to(step.spread, mean.shape)
            else:
                shift, more = step.process.predict(x)
                mean = mean + shift
            variance[:, np.arange(m), np.arange(m)] += more
            if self._own and known is not None:
                measured = ~np.isnan(known[:, place]).any(1)
                mean[measured], variance[measured] = known[measured, place], 0.0
        return mean, np.diagonal(variance, axis1=1, axis2=2).copy()

    def _add(self, level: Level, hyper: Hyper | None) -> None:
        place, (n, m) = len(self._steps), level.y.shape
        spread, length = _prior(place)
        a, b = np.zeros(m), np.eye(m)
        residual = level.y
        if place:
            z = self.mean(level.x)
            if self._own:
                z = np.where(np.isnan(level.before), z, level.before)
            a, b = regression(z, level.y)
            residual = level.y - a - z @ b.T
        elif n < FEWEST:
            a = level.y.mean(0) if n else np.full(m, 0.5)
            residual = level.y - a
        process = None
        if n >= FEWEST:
            hyper = hyper or fit(level.x, residual, length)
            process = GP(level.x, residual, hyper)
        constant = (_WEIGHT * spread**2 + (residual**2).sum(0)) / (_WEIGHT + n)
        self._steps.append(_Step(a, b, constant, process))
        self.hypers.append(hyper if process is not None else None)


def regression(z: Array, y: Array) -> tuple[Array, Array]:
    """a [m] and B [m, m] of y = a + B z, a ridge towards y = z. Args: z, y: [n, m]."""
    m = z.shape[1]
    if not len(z):
        return np.zeros(m), np.eye(m)
    zc, yc = z - z.mean(0), y - y.mean(0)
    b = np.linalg.solve(zc.T @ zc + _RIDGE * np.eye(m), zc.T @ yc + _RIDGE * np.eye(m)).T
    return y.mean(0) - b @ z.mean(0), b


def _prior(place: int) -> tuple[float, float]:
    return _LATER if place else _FIRST
