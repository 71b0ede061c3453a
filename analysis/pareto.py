"""Dominance, frontiers, hypervolume and the interval of an accuracy. Knows nothing of sweeps but two column names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import moocore
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from sweeps import frontier as order

CONFIDENCE = 0.95
Z = float(ndtri((1 + CONFIDENCE) / 2))  # 1.96
_MODES = ("max", "min")


def dominates(a: ArrayLike, b: ArrayLike, maximise: bool | Sequence[bool] = True) -> bool:
    """Whether point `a` is at least as good as `b` in every objective and better in one.

    A tie is not domination, and where a value is missing (nan) nothing is proven.

    Args:
        a: [m] objectives of one point.
        b: [m] objectives of the other.
        maximise: which objectives are better when larger, one for all or one each.
    """
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    flags = np.broadcast_to(np.asarray(maximise, dtype=bool), left.shape)
    objectives = {str(at): "max" if flag else "min" for at, flag in enumerate(flags)}
    one, other = (dict(zip(objectives, point.tolist(), strict=True)) for point in (left, right))
    return order.dominates(one, other, objectives)


def nondominated(points: ArrayLike, maximise: bool | Sequence[bool] = True) -> NDArray[np.bool_]:
    """Which points no other dominates.

    Args:
        points: [n, m], a row per point; a row with a missing value (nan) neither dominates nor is non-dominated.
        maximise: which objectives are better when larger, one for all or one each.

    Returns:
        [n]; equal points stand or fall together, and the order of rows does not matter.
    """
    values = np.asarray(points, dtype=float)
    return order.undominated(np.where(np.asarray(maximise, dtype=bool), -values, values))


def frontier(df: pd.DataFrame, objectives: Mapping[str, str]) -> pd.DataFrame:
    """The rows that no other row dominates, in the order they came.

    Where the table has the columns `status`, `feasible` and `flags` (`analysis.load` gives them), only complete, feasible
    rows without flags take part: a flagged accuracy may be too high. A row with a missing objective takes no part either:
    so only trials judged in full are on a frontier of judged accuracies.

    Args:
        df: a row per trial.
        objectives: column name to "max" or "min".

    Raises:
        KeyError: an objective is not a column.
        ValueError: no objectives, or one that is neither "max" nor "min".
    """
    if not objectives:
        raise ValueError("a frontier needs at least one objective")
    for name, mode in objectives.items():
        if mode not in _MODES:
            raise ValueError(f"objective {name!r}: {mode!r} is neither 'max' nor 'min'")
    taking_part = np.ones(len(df), dtype=np.bool_)
    if "status" in df:
        taking_part &= (df["status"] == "complete").to_numpy(dtype=bool)
    if "feasible" in df:
        taking_part &= df["feasible"].to_numpy(dtype=bool)
    if "flags" in df:
        taking_part &= (df["flags"].isna() | (df["flags"] == "")).to_numpy(
            dtype=bool
        )  # a CSV file gives "" back as nan
    standing = df[taking_part]
    values = standing[list(objectives)].to_numpy(dtype=float, na_value=np.nan)
    return standing[nondominated(values, [mode == "max" for mode in objectives.values()])]


def hypervolume(points: ArrayLike, reference: ArrayLike = 0.0, *, maximise: bool | Sequence[bool] = True) -> float:
    """Volume that the points dominate, measured from a fixed reference point.

    Args:
        points: [n, m]; accuracies as fractions give a volume in [0, 1]. A point that is not better than the reference
            in every objective adds nothing.
        reference: one number for all objectives, or [m]. Fixed by the caller, never taken from the data, so that
            numbers of different sweeps can be compared.
        maximise: which objectives are better when larger, one for all or one each.

    Raises:
        ValueError: a value is missing (nan).
    """
    values = np.asarray(points, dtype=float)
    if values.size == 0:
        return 0.0
    if np.isnan(values).any():
        raise ValueError("a hypervolume needs points without missing values")
    origin = np.broadcast_to(np.asarray(reference, dtype=float), values.shape[1])
    return float(moocore.hypervolume(values, ref=origin, maximise=maximise))


def wilson(successes: float, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of an accuracy p, over the drawing of images: all p with |k/n - p| <= z sqrt(p (1 - p) / n).

    Args:
        successes: k, images counted, 0 to n. A fraction for a randomised model, whose interval is then a little too wide,
            for a mean over passes varies less than one answer.
        n: images looked at.
        z: 1.96 makes it a 95 % interval for one accuracy; a larger critical value, a band for many at once.

    Returns:
        Low and high as fractions; (0, 1) where no image was looked at.

    Raises:
        ValueError: more successes than images, or a negative number.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} images cannot be")
    if n == 0:
        return 0.0, 1.0
    share, extra = successes / n, z * z / n
    centre, half = share + extra / 2, math.sqrt(share * (1 - share) * extra + (extra / 2) ** 2)
    low, high = (centre - half) / (1 + extra), (centre + half) / (1 + extra)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)
