"""Means over training seeds, how sure they are, and which of them are the best within the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

WIDTH = float(stats.norm.ppf(0.975))
"""Standard errors from the middle of a 95 % interval to its end: 1.96."""
LEVEL = 0.05


def of_interval(low: float | None, high: float | None) -> float:
    """The standard error that a 95 % interval tells of, (high - low) / (2 * 1.96); nan where there is no interval."""
    if low is None or high is None:
        return math.nan
    return (high - low) / (2 * WIDTH)


def of_share(share: float, images: float) -> float:
    """The standard error of a share p of n images drawn at random, sqrt(p (1 - p) / n)."""
    return math.sqrt(share * (1 - share) / images) if images > 0 else math.nan


def of_difference(*errors: float) -> float:
    """The standard error of a difference of independent values, the root of the sum of their squares."""
    return math.sqrt(sum(error * error for error in errors))


def settings(rows: pd.DataFrame, keys: Sequence[str], by: Sequence[str] = ("setting", "label")) -> pd.DataFrame:
    """Models of one setting as one row: for each key its mean over seeds, `KEY_se` and `KEY_n`, in the order they first appear.

        KEY_se      of n >= 2 seeds sd / sqrt(n), sd with n - 1; of one the model's own KEY_se, over images or draws

    Args:
        rows: a row for each model, with the columns of `by`, KEY and, where there is one, KEY_se.
        keys: columns of numbers; nan counts as no seed.
    """
    found = []
    for named, part in rows.groupby(list(by), sort=False, dropna=False):
        row: dict[str, object] = dict(zip(by, named if isinstance(named, tuple) else (named,), strict=True))
        row["models"] = len(part)
        for key in keys:
            numbers = part[key].to_numpy(dtype=float)
            there = np.isfinite(numbers)
            n, own = int(there.sum()), part.get(f"{key}_se")
            row[key] = float(numbers[there].mean()) if n else math.nan
            if n >= 2:
                row[f"{key}_se"] = float(numbers[there].std(ddof=1) / math.sqrt(n))
            else:
                row[f"{key}_se"] = float(own.to_numpy(dtype=float)[there][0]) if n and own is not None else math.nan
            row[f"{key}_n"] = n
        found.append(row)
    return pd.DataFrame(found)


def best(table: pd.DataFrame, key: str, better: str) -> list[bool]:
    """Which rows of `settings` are the best, or cannot be told from it at 5 %.

    Welch's t-test of each against the best mean: t = |a - b| / sqrt(se_a^2 + se_b^2), degrees of freedom after Welch and
    Satterthwaite, where an error over images has as many as there are. A row whose error is not known is the best only if its
    value is.

    Args:
        better: `max` or `min`.
    """
    values = table[key].to_numpy(dtype=float)
    if not np.isfinite(values).any():
        return [False] * len(table)
    at = int(np.nanargmax(values) if better == "max" else np.nanargmin(values))
    errors, counts = table[f"{key}_se"].to_numpy(dtype=float), table[f"{key}_n"].to_numpy(dtype=int)
    return [
        bool(np.isfinite(value))
        and (value == values[at] or not apart(value - values[at], (errors[i], errors[at]), (counts[i], counts[at])))
        for i, value in enumerate(values)
    ]


def apart(difference: float, errors: Sequence[float], counts: Sequence[int]) -> bool:
    """Whether two means differ at 5 % by Welch's test; True where an error is not known.

    Args:
        errors, counts: standard errors and seeds of the two; of one seed the error is over images, and as good as known.
    """
    total = sum(error * error for error in errors)
    if not math.isfinite(total) or total == 0:
        return True
    spread = sum(error**4 / (n - 1) for error, n in zip(errors, counts, strict=True) if n > 1)
    freedom = total * total / spread if spread else math.inf
    t = abs(difference) / math.sqrt(total)
    tail = stats.norm.sf(t) if math.isinf(freedom) else stats.t.sf(t, freedom)
    return bool(2 * tail < LEVEL)


def seeds(rows: pd.DataFrame) -> str:
    """What errors are of, and what is bold, for a caption."""
    counts = rows.groupby("setting").size()
    most, least = int(counts.max()), int(counts.min())
    if most == 1:
        over = "Standard errors are over images; each model was trained once"
    else:
        many = f"{most}" if most == least else f"{least} to {most}"
        over = f"Means and standard errors over {many} training seeds" + ("" if least > 1 else ", of one over images")
    return f"{over}. Bold: the best, and what Welch's test cannot tell from it at 5 %."
