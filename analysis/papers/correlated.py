"""How robust loss and another column go together over models, in the words of a figure's title."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy import stats

_LEAST = 3
"""Models that a coefficient says something of."""


def told(rows: pd.DataFrame, key: str) -> str:
    """`r = 0.85, rho = 0.86 (n = 74)`: Pearson's and Spearman's coefficients; `python -m analysis correlate` has intervals."""
    r, rho, n = coefficients(rows, key)
    return f"n = {n}" if math.isnan(r) else f"r = {r:.2f}, rho = {rho:.2f} (n = {n})"


def coefficients(rows: pd.DataFrame, key: str) -> tuple[float, float, int]:
    """Pearson's r and Spearman's rho of `robust_loss` and a column, and of how many models; nan of fewer than three, or where
    a column is constant.
    """
    x, y = rows[key].to_numpy(dtype=float), rows["robust_loss"].to_numpy(dtype=float)
    there = np.isfinite(x) & np.isfinite(y)
    x, y, n = x[there], y[there], int(there.sum())
    if n < _LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan, math.nan, n
    return float(stats.pearsonr(x, y)[0]), float(stats.spearmanr(x, y)[0]), n
