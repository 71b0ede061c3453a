"""How much a frontier attains, by the sweep's objectives: the volume it dominates, as a share of the whole."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from analysis.axes import Axis
from analysis.pareto import hypervolume
from robustray.measures.metrics import is_share


def largest(df: pd.DataFrame, objectives: Mapping[str, str]) -> dict[str, float]:
    """By objective that is no share of images: the largest value a complete trial of this sweep has, nan where none has one.

    Shares end at 0 and 1 in any sweep. A cost has no worst value, so it is measured by the sweep's own largest one.
    """
    complete = df[df["status"] == "complete"]
    return {name: float(complete[name].max()) for name in objectives if not is_share(name)}


def volume(rows: pd.DataFrame, objectives: Mapping[str, str], worst: Mapping[str, float], prefix: str = "") -> float:
    """Share of the box from the worst corner to the ideal one that these rows dominate, in [0, 1].

    The corner is 0 for what is maximised (and its largest value is 1 or `worst`), `worst` for what is minimised (and 0 is
    ideal). Of two accuracies it is the area under the frontier.

    Args:
        rows: a row per trial or setting.
        objectives: the sweep's, by metric.
        worst: as `largest` gives it.
        prefix: of the columns of accuracies, such as `judged_`.
    """
    axes = [Axis(name, mode) for name, mode in objectives.items()]
    values = rows[[axis.column(prefix) for axis in axes]].to_numpy(dtype=float, copy=True)
    for at, axis in enumerate(axes):
        scale = worst.get(axis.name, 1.0)
        values[:, at] /= scale if scale > 0 else 1.0
    corner = [0.0 if axis.sign > 0 else 1.0 for axis in axes]
    return hypervolume(values, corner, maximise=[axis.sign > 0 for axis in axes])
