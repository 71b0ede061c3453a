"""How robust loss and another column go together over models, in the words of a figure's title."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.correlation import correlate


def told(rows: pd.DataFrame, key: str) -> str:
    """`r = 0.85, rho = 0.86 (n = 74)`: Pearson's and Spearman's coefficients."""
    r, rho, n = coefficients(rows, key)
    return f"n = {n}" if math.isnan(r) else f"r = {r:.2f}, rho = {rho:.2f} (n = {n})"


def coefficients(rows: pd.DataFrame, key: str) -> tuple[float, float, int]:
    """Pearson's r and Spearman's rho of robust loss and a column, and of how many models; nan where they say nothing."""
    x, y = rows[key].to_numpy(dtype=float), rows["robust_loss"].to_numpy(dtype=float)
    there = np.isfinite(x) & np.isfinite(y)
    try:
        found = {each.name: each.value for each in correlate(x[there], y[there])}
    except ValueError:
        return math.nan, math.nan, int(there.sum())
    return found["Pearson"], found["Spearman"], int(there.sum())
