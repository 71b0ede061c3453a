"""How two columns of a table go together: a measure of models and what it is to explain, say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robustray.errors import UserError, nearest
from robustray.files import write_whole
from sweeps.agreement import kendall, ratio

RESAMPLES, LEVEL = 10_000, 0.95
_BLOCK = 1000  # resamples at once
_MOST = 5000  # rows: pairs of rows are held in memory
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of correlation.

    Attributes:
        value: in [-1, 1]. low, high: ends of its interval. p: of no correlation, two-sided.
    """

    name: str
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Correlation:
    """How columns x and y of n rows go together. left_out: rows without a number in one of them."""

    x: str
    y: str
    n: int
    left_out: int
    coefficients: tuple[Coefficient, ...]

    def to_csv(self, path: Path) -> None:
        """A row for each coefficient."""
        rows = [{"x": self.x, "y": self.y, "n": self.n, **asdict(each)} for each in self.coefficients]
        write_whole(path, pd.DataFrame(rows).to_csv(index=False))


def of_table(path: Path, x: str, y: str) -> Correlation:
    """Correlation of two columns of a CSV with a header.

    Raises:
        UserError: it cannot be read, a column is not there or holds other than numbers, or too little is left.
    """
    try:
        df = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a CSV with a header: {error}") from None
    for flag, column in (("--x", x), ("--y", y)):
        if column not in df:
            raise UserError(f"{flag}: {path} has no column {column!r}; {nearest(column, list(df.columns))}")
        if not pd.api.types.is_numeric_dtype(df[column]):
            raise UserError(f"{flag}: column {column!r} of {path} holds other than numbers")
    a, b = (df[column].to_numpy(np.float64) for column in (x, y))
    whole = np.isfinite(a) & np.isfinite(b)
    try:
        coefficients = correlate(a[whole], b[whole])
    except ValueError as error:
        raise UserError(f"{path}: {x} and {y}: {error}") from None
    return Correlation(x, y, int(whole.sum()), int((~whole).sum()), coefficients)


def correlate(x: Array, y: Array) -> tuple[Coefficient, ...]:
    """Pearson's r, Spearman's rho and Kendall's tau-b of values [n], ties at their mean rank.

    Intervals are percentiles over resamples of rows (Efron, Annals of Statistics 1979), the same for all three and at every
    call: as if rows were drawn from one population, which models of one paper are not quite. Resamples in which a column is
    constant say nothing. p is scipy's, of no correlation.

    Raises:
        ValueError: fewer than 3 values, more than 5,000, or all of a column the same.
    """
    if not 3 <= len(x) <= _MOST:
        raise ValueError(f"{len(x)} rows with both numbers; correlation takes 3 to {_MOST:,}")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("all values of a column are the same")
    rng, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES // _BLOCK):
        times = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), _BLOCK)
        found.append(resampled(x, y, times.astype(np.float64)))
    tests: dict[str, Callable[[Array, Array], tuple[float, float]]] = {
        "Pearson": stats.pearsonr,
        "Spearman": stats.spearmanr,
        "Kendall": stats.kendalltau,
    }
    return tuple(
        Coefficient(name, float(value), *_ends([each[name] for each in found]), float(p))
        for name, (value, p) in ((name, test(x, y)) for name, test in tests.items())
    )


def resampled(x: Array, y: Array, times: Array) -> dict[str, Array]:
    """Each coefficient [R] of R resamples of values [n]; `times` [R, n] say how often a resample has each row."""
    signs_x, signs_y = (np.sign(each[:, None] - each[None, :]) for each in (x, y))
    ranks = [times @ signs.T for signs in (signs_x, signs_y)]  # twice the mean rank in the resample, up to a constant
    taus = kendall(x, y, times)
    found = {
        "Pearson": _weighted(x[None, :], y[None, :], times),
        "Spearman": _weighted(ranks[0], ranks[1], times),
        "Kendall": taus,
    }
    varies = np.isfinite(taus)  # exact, which variances are not
    return {name: np.where(varies, values, np.nan) for name, values in found.items()}


def _ends(found: list[Array]) -> tuple[float, float]:
    low, high = np.nanpercentile(np.concatenate(found), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _weighted(x: Array, y: Array, times: Array) -> Array:
    """Pearson's r of each resample [R]: rows of `times` [R, n] say how often each value is in it."""
    total = times.sum(1, keepdims=True)
    dx, dy = (each - (times * each).sum(1, keepdims=True) / total for each in (x, y))
    return ratio((times * dx * dy).sum(1), (times * dx * dx).sum(1) * (times * dy * dy).sum(1))
