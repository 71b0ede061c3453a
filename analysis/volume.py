"""How much a frontier attains, by the sweep's objectives: the volume it dominates, as a share of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.axes import Axis
from robustray.measures.metrics import is_share
from sweeps.frontier import attained


def largest(df: pd.DataFrame, objectives: Mapping[str, str]) -> dict[str, float]:
    """By objective that is no share of images: the largest value a complete trial of this sweep has, nan where none has one.

    Shares end at 0 and 1 in any sweep. A cost has no worst value, so it is measured by the sweep's own largest one.
    """
    complete = df[df["status"] == "complete"]
    return {name: float(complete[name].max()) for name in objectives if not is_share(name)}


def volume(rows: pd.DataFrame, objectives: Mapping[str, str], worst: Mapping[str, float], prefix: str = "") -> float:
    """Share of the box from the worst corner to the ideal one that these rows dominate: see `sweeps.frontier.attained`.

    Args:
        rows: a row per trial or setting.
        objectives: the sweep's, by metric.
        worst: as `largest` gives it.
        prefix: of the columns of accuracies, such as `judged_`.
    """
    columns = [Axis(name, mode).column(prefix) for name, mode in objectives.items()]
    return attained(rows[columns].to_numpy(dtype=float), objectives, worst)
