"""What the page's scripts need to look at one trial and to pick a member that keeps to a limit: plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import axes, points, words
from analysis.axes import RANK, Axis
from robustray.measures.metrics import ACCURACIES, METRICS, in_order

_STEPS = 200  # of the slider, where the unit gives none


@dataclass(frozen=True)
class Limit:
    """A slider over the first axis of the figure. Members are asked for the best in the other objective that keeps to it."""

    label: str  # `At least this clean`
    low: float
    high: float
    step: float
    start: float  # keeps every member in


def limit(df: pd.DataFrame, objectives: Mapping[str, str]) -> Limit | None:
    """The slider; None where there is nothing to choose: one objective, or fewer than two members."""
    axis, _ = axes.plane(objectives)
    values = [one["at"] for one in facts(df, objectives)["choices"]["members"]]
    if axis.name == RANK or len(set(values)) < 2:
        return None
    step = 0.1 if axis.scale == 100 else _nice((max(values) - min(values)) / _STEPS)
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step
    low, high = (round(end, 10) for end in (low, high))
    return Limit(_label(axis), low, high, step, low if axis.sign > 0 else high)


def facts(df: pd.DataFrame, objectives: Mapping[str, str], requests: Mapping[int, str] | None = None) -> dict[str, Any]:
    """Who is on the frontier, along the first axis, who was derived, and what a limit on the first axis leaves.

    Members are held to limits by the numbers they were chosen by, on the selection set; what test says of them stands beside.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        requests: of derived points, the line that makes each, as `derivation.lines` gives them.
    """
    axis, other = axes.plane(objectives)
    placed = points.selection_points(df, objectives)
    leading = placed[placed["kind"] == "leader"].sort_values(["x", "trial"])
    best = leading.sort_values(["y", "x", "trial"], ascending=[other.sign < 0, axis.sign < 0, True])
    rows = {row["trial"]: row for row in points.records(df[df["trial"].isin(leading["trial"])])}
    chosen = [
        {"trial": int(trial), "at": float(x), "said": _said(rows[trial], objectives)}
        for trial, x in zip(best["trial"], best["x"], strict=True)
    ]
    return {
        "members": [int(trial) for trial in leading["trial"]],
        "derived": [int(trial) for trial in df.loc[df["derived"].notna(), "trial"]],
        "requests": dict(requests or {}),
        "choices": {
            "sign": axis.sign,
            "unit": "%" if axis.scale == 100 else axes.unit(axis.name) if axis.name != RANK else "",
            "digits": 1 if axis.scale == 100 else _digits(leading["x"]),
            "members": chosen,
            "none": "no member keeps to it",
        },
    }


def _label(axis: Axis) -> str:
    if axis.name in ACCURACIES:
        return f"At least this {METRICS[axis.name].short}"
    return f"At {'least' if axis.sign > 0 else 'most'} this {axes.spoken(axis.name)}"


def _said(row: Mapping[str, Any], objectives: Mapping[str, str]) -> str:
    return f"trial {row['trial']}, {numbers(row, objectives)}"


def numbers(row: Mapping[str, Any], objectives: Mapping[str, str]) -> str:
    """`88.1 % clean / 50.6 % robust on the selection set, 87.6 % / 49.2 % on test`: what chose it, and what test says."""
    prefix = "judged_" if row["judging"] == "full" else ""
    named = [Axis(name, objectives[name]) for name in in_order(objectives)]
    told = " / ".join(filter(None, (axes.printed(axis.name, row[axis.column(prefix)]) for axis in named)))
    tested = [words.percent(row[axis.column("test_")]) for axis in named if axis.judged]
    after = f", {' / '.join(tested)} on test" if any(tested) else ""
    return f"{told} {where(prefix)}{after}"


def where(prefix: str) -> str:
    """Which images the numbers of columns under a prefix are of, in words."""
    return f"on the {words.SELECTION_SET}" if prefix else f"by the {words.CHEAP} on validation"


def _digits(values: pd.Series[Any]) -> int:
    span = float(values.max() - values.min()) if len(values) else 0.0
    return 0 if span > 100 or not span else max(0, 2 - math.floor(math.log10(span)))


def _nice(step: float) -> float:
    """The power of ten below a step."""
    return float(10.0 ** math.floor(math.log10(step)))
