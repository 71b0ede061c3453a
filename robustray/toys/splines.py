"""Why robust training can cost accuracy: a staircase fitted by splines (Yang et al., NeurIPS 2020, section 5).

Ten stairs: the target is k wherever |x - k| <= eps, so moving a point by eps changes nothing. Half of the stairs hold nearly
all points, and a point sits at its stair's middle, but for one in a hundred, which is moved to its end. With few points a
smooth fit goes straight through the middles: accurate there, wrong at the ends. A robust fit is flat around every point that it
has seen. With many points all of them find the staircase, and nothing is left to trade (arXiv:2003.02460; Raghunathan et al.,
arXiv:1906.06032, made the example).

A fit is f(x) = b(x)' theta over cubic B-splines with knots at k and k +- eps, and theta minimises

    sum_i loss_i + smooth * theta' P theta,   theta' P theta = int f''(x)^2 dx

    natural    (f(x) - y)^2
    gr         ... + beta |d/dx (f(x) - y)^2|
    llr        ... + beta max_d |g(x + d) - g(x) - d g'(x)|,  g = (f - y)^2
    at         max_d (f(x + d) - y)^2
    rst        natural + lam at
    trades     natural + beta max_d (f(x + d) - f(x))^2          d in {-eps, 0, eps}

All but the middle two are convex: their maxima become a largest and a least value of f around each place, bound by linear
inequalities, and the minimum found is the one there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustray.toys.base import Tables

Array = NDArray[np.float64]
Method = Literal["natural", "gr", "llr", "at", "rst", "trades"]
STAIRS, EPS, NOISE, MOVED, SMOOTH = 10, 1 / 3, 0.1, 0.01, 0.01
MASS = np.where(np.arange(STAIRS) % 2 == 0, 1 / 5, 0.01)
"""Of the stairs, before they are made to sum to 1."""
MOVES = np.array([-EPS, 0.0, EPS])
SIZES, TESTED, SEEDS = (40, 30_000), 30_000, 5
SETTINGS: tuple[tuple[Method, float], ...] = (
    ("natural", 0), ("gr", 1e-4), ("llr", 0.01), ("at", 1), ("rst", 0.5), ("rst", 1), ("rst", 2),
    ("trades", 1), ("trades", 3), ("trades", 6),
)  # fmt: skip
"""What the published notebook fits."""


@dataclass(frozen=True)
class Points:
    """Points by the places they sit at: places [P], and the targets at each."""

    place: Array
    y: list[Array]

    @property
    def size(self) -> int:
        """How many there are."""
        return sum(map(len, self.y))


def drawn(n: int, rng: np.random.Generator) -> Points:
    """So many points: their stair by its mass, one in a hundred moved to an end of it, y = stair + N(0, NOISE^2)."""
    stair = rng.choice(STAIRS, n, p=MASS / MASS.sum())
    move = rng.choice(3, n, p=[MOVED / 2, 1 - MOVED, MOVED / 2])
    y = stair + NOISE * rng.standard_normal(n)
    at = 3 * stair + move
    there = np.unique(at)
    return Points(_place(there), [y[at == each] for each in there])


def _place(at: NDArray[np.int64]) -> Array:
    place: Array = at // 3 + MOVES[at % 3]
    return place


def errors(theta: Array, points: Points, basis: Basis) -> tuple[float, float]:
    """Mean squared error, and that of the worst move of every point."""
    around = np.stack([basis.at(points.place + move) @ theta for move in MOVES], 1)  # [P, 3]
    clean = sum(float(((f[1] - y) ** 2).sum()) for f, y in zip(around, points.y, strict=True))
    worst = sum(float(((f[:, None] - y) ** 2).max(0).sum()) for f, y in zip(around, points.y, strict=True))
    return clean / points.size, worst / points.size


class Basis:
    """Cubic B-splines with knots at the middles and ends of all stairs."""

    def __init__(self) -> None:
        from scipy.interpolate import BSpline

        inner = np.sort((np.arange(STAIRS)[:, None] + MOVES).ravel())
        knots = np.concatenate([[inner[0]] * 3, inner, [inner[-1]] * 3])
        self.size = len(knots) - 4
        self.low, self.high = float(inner[0]), float(inner[-1])
        self._splines = BSpline(knots, np.eye(self.size), 3)
        self.penalty = self._roughness(inner)

    def at(self, x: Array, derivative: int = 0) -> Array:
        """b(x), or a derivative of it, [N, size]; beyond the ends as at the ends."""
        inside = np.clip(x, self.low, self.high)
        found: Array = np.asarray(self._splines(inside, nu=derivative), np.float64)
        return found

    def _roughness(self, inner: Array) -> Array:
        """int b''(x) b''(x)' dx, exact: second derivatives are linear between knots, and Simpson's rule knows cubics."""
        total = np.zeros((self.size, self.size))
        for low, high in pairwise(inner.tolist()):
            inset = 1e-9 * (high - low)  # at a knot the second derivative belongs to both sides
            ends = self.at(np.array([low + inset, (low + high) / 2, high - inset]), 2)
            for weight, row in zip((1, 4, 1), ends, strict=True):
                total += (high - low) / 6 * weight * np.outer(row, row)
        return total


def fitted(method: Method, strength: float, points: Points, basis: Basis, smooth: float = SMOOTH) -> Array:
    """theta [size]; see the head of this file."""
    smooth = smooth / points.size  # losses are means below
    if method in ("natural", "gr", "llr"):
        return _smooth_fit(method, strength, points, basis, smooth)
    return _convex_fit(method, strength, points, basis, smooth)


def _normal(points: Points, basis: Basis, smooth: float) -> tuple[Array, Array]:
    """A and c of mean (f - y)^2 + penalty = theta' A theta - 2 c' theta + const."""
    count = np.array([len(y) for y in points.y]) / points.size
    mean = np.array([y.sum() for y in points.y]) / points.size
    b = basis.at(points.place)
    square: Array = b.T @ (count[:, None] * b) + smooth * basis.penalty
    return square, b.T @ mean


def _smooth_fit(method: Method, strength: float, points: Points, basis: Basis, smooth: float) -> Array:
    a, c = _normal(points, basis, smooth)
    natural: Array = np.asarray(np.linalg.solve(a, c), np.float64)
    if method == "natural" or strength == 0:
        return natural
    from scipy.optimize import minimize

    place = np.repeat(points.place, [len(y) for y in points.y])
    y = np.concatenate(points.y)
    b, slope = basis.at(place), basis.at(place, 1)
    around = [basis.at(place + move) for move in MOVES]

    def value(theta: Array) -> float:
        base = float(theta @ a @ theta - 2 * c @ theta)
        error, steep = b @ theta - y, slope @ theta
        tangent = 2 * error * steep
        if method == "gr":
            return base + strength * float(np.abs(tangent).mean())
        bent = [
            np.abs((each @ theta - y) ** 2 - error**2 - move * tangent)
            for each, move in zip(around, MOVES, strict=True)
        ]
        return base + strength * float(np.max(bent, 0).mean())

    found: Array = minimize(value, natural, method="L-BFGS-B", options={"maxiter": 200, "maxfun": 20_000}).x
    return found


def _convex_fit(method: Method, strength: float, points: Points, basis: Basis, smooth: float) -> Array:
    """theta, with the most m and the least l of f around every place: minimised under b(x + d)' theta <= m and >= l."""
    from scipy.optimize import LinearConstraint, minimize

    places, size = len(points.place), basis.size
    a, c = _normal(points, basis, smooth)
    around = np.stack([basis.at(points.place + move) for move in MOVES], 1)  # [P, 3, size]
    weight = np.array([len(y) for y in points.y]) / points.size
    here = around[:, 1]
    clean = {"at": 0.0, "rst": 1.0, "trades": 1.0}[method]
    robust = 1.0 if method == "at" else strength
    only = smooth * basis.penalty

    def terms(z: Array) -> tuple[float, Array]:
        theta, most, least = z[:size], z[size : size + places], z[size + places :]
        value = float(theta @ only @ theta)
        slopes = np.zeros_like(z)
        slopes[:size] = 2 * only @ theta
        if clean:
            value += clean * float(theta @ (a - only) @ theta - 2 * c @ theta)
            slopes[:size] += clean * 2 * ((a - only) @ theta - c)
        if method == "trades":
            f = here @ theta
            above, below = most - f, f - least
            up = above >= below
            far = np.where(up, above, below)
            value += robust * float(weight @ far**2)
            pull = robust * 2 * weight * far
            slopes[size : size + places] = np.where(up, pull, 0)
            slopes[size + places :] = np.where(up, 0, -pull)
            slopes[:size] += here.T @ np.where(up, -pull, pull)
            return value, slopes
        for at, y in enumerate(points.y):
            above, below = most[at] - y, y - least[at]
            up = above >= below
            far = np.where(up, above, below)
            value += robust * float((far**2).sum()) / points.size
            slopes[size + at] = robust * 2 * float(far[up].sum()) / points.size
            slopes[size + places + at] = -robust * 2 * float(far[~up].sum()) / points.size
        return value, slopes

    rows = list[Array]()
    for at in range(places):
        for move in range(3):
            for sign, column in ((1.0, size + at), (-1.0, size + places + at)):
                row = np.zeros(size + 2 * places)
                row[:size], row[column] = -sign * around[at, move], sign
                rows.append(row)
    theta = np.linalg.solve(a, c)
    values = around @ theta
    start = np.concatenate([theta, values.max(1), values.min(1)])
    bounds = LinearConstraint(np.array(rows), 0, np.inf)
    done = minimize(
        terms, start, jac=True, method="SLSQP", constraints=[bounds], options={"maxiter": 500, "ftol": 1e-10}
    )
    found: Array = done.x[:size]
    return found


def run(
    tell: Callable[[float], None] = lambda share: None, *, sizes: Sequence[int] = SIZES, seeds: int = SEEDS
) -> Tables:
    """`errors`: every fit on each size of training set; `curves`: f of the first seed; `points`: what it was fitted to."""
    basis, wide = Basis(), np.linspace(-0.6, STAIRS - 0.4, 401)
    found, curves, shown = list[dict[str, object]](), list[dict[str, object]](), list[dict[str, object]]()
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        tested = drawn(TESTED, rng)
        for n in sizes:
            points = drawn(n, rng)
            for method, strength in SETTINGS:
                theta = fitted(method, strength, points, basis)
                (train, worst_train), (test, worst_test) = (errors(theta, each, basis) for each in (points, tested))
                about = {"points": n, "method": method, "strength": strength}
                told = {"train": train, "test": test, "worst_train": worst_train, "worst_test": worst_test}
                found.append({**about, "seed": seed, **told})
                if seed == 0:
                    curves += [
                        {**about, "x": x, "f": f}
                        for x, f in zip(wide.tolist(), (basis.at(wide) @ theta).tolist(), strict=True)
                    ]
            if seed == 0 and n == min(sizes):
                shown += [
                    {"x": x, "y": float(y)} for x, ys in zip(points.place.tolist(), points.y, strict=True) for y in ys
                ]
        tell((seed + 1) / seeds)
    return {"errors": found, "curves": curves, "points": shown}
