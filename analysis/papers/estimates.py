"""Means over training seeds, how sure they are, and which of them are the best within the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

WIDTH = float(stats.norm.ppf(0.975))
"""Standard errors from the middle of a 95 % interval to its end: 1.96."""
BOLD = "Bold: the best, and what lies within 1.96 standard errors of the difference."


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
    """Models of one setting as one row: for each key its mean over seeds and the mean's standard error `KEY_se`, in the order
    they first appear. With sd of n seeds (n - 1 degrees of freedom) and e the models' own errors, over images or draws,

        KEY_se = max(sd / sqrt(n), mean e)      of one seed e

    for all seeds are measured on the same images, whose noise no seed takes out. What is not known counts as nothing.

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
            n, error = int(there.sum()), math.nan
            if n and f"{key}_se" in part:
                own = part[f"{key}_se"].to_numpy(dtype=float)[there]
                error = float(own[np.isfinite(own)].mean()) if np.isfinite(own).any() else math.nan
            if n >= 2:
                error = float(np.nanmax([numbers[there].std(ddof=1) / math.sqrt(n), error]))
            row[key], row[f"{key}_se"] = float(numbers[there].mean()) if n else math.nan, error
        found.append(row)
    return pd.DataFrame(found)


def best(table: pd.DataFrame, key: str, better: str) -> list[bool]:
    """Which rows of `settings` are the best, or within its noise: |a - b| <= 1.96 sqrt(se_a^2 + se_b^2) of the best mean b.

    A row whose error is not known is so only if its value is.

    Args:
        better: `max` or `min`.
    """
    values, errors = (table[name].to_numpy(dtype=float) for name in (key, f"{key}_se"))
    if not np.isfinite(values).any():
        return [False] * len(table)
    at = int(np.nanargmax(values) if better == "max" else np.nanargmin(values))
    within = np.abs(values - values[at]) <= WIDTH * np.hypot(errors, errors[at])
    return [bool(same or near) for same, near in zip(values == values[at], within, strict=True)]


def seeds(rows: pd.DataFrame, *, bold: bool = True) -> str:
    """What errors are of, and what is bold where anything is, for a caption."""
    counts = rows.groupby("setting").size()
    most, least = int(counts.max()), int(counts.min())
    many = f"{most}" if most == least else f"{least} to {most}"
    over = (
        "Each model was trained once; standard errors do not hold the spread over seeds"
        if most == 1
        else f"Means over {many} training seeds, with standard errors, which are no smaller than those over images"
    )
    return f"{over}. {BOLD}" if bold else f"{over}."
