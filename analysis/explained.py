"""What explains the frontier's members, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import axes, words
from analysis.measured import ENDS, column
from analysis.tables import Cell, Head, Table
from robustray.measures.metrics import METRICS, Metric
from sweeps.record import Snapshot, measured
from sweeps.standing import SELECTION, TEST

_NAMES = {SELECTION: words.SELECTION_SET, TEST: "test", "train": "training images"}


def table(df: pd.DataFrame, snapshot: Snapshot) -> Table:
    """A row for each member, from the best in the first objective to the worst, a column for each measure and split.

    Args:
        df: as `analysis.load` gives it.
        snapshot: the record the table was made from.
    """
    asked = _asked(snapshot)
    along = axes.along(snapshot.objectives)
    members = df[df["member"]].sort_values([along.column("judged_"), "trial"], ascending=[along.sign < 0, True])
    heads = [Head("trial", numeric=True)]
    for split, name in asked:
        unit = ", ".join(filter(None, (_NAMES[split], axes.unit(name))))
        heads.append(Head(METRICS[name].short, f"{unit}, 95 % interval", numeric=True))
    rows = [
        [Cell(str(trial["trial"]), mark="trial"), *(_cell(trial, split, name) for split, name in asked)]
        for trial in members.to_dict("records")
    ]
    return Table(heads, rows if asked else [])


def _asked(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What there is a column of: split and name, the measures one after another."""
    found = dict.fromkeys((each.split, each.name) for each in measured.found(snapshot) if each.name in METRICS)
    names = list(dict.fromkeys(name for _, name in found))
    return [(split, name) for name in names for split in _NAMES if (split, name) in found]


def _cell(trial: Mapping[Any, Any], split: str, name: str) -> Cell:
    value, low, high = (trial[column(split, name) + end] for end in ENDS)
    if words.missing(value):
        return Cell("", sort="")
    metric = METRICS[name]
    around = "" if words.missing(low) else f"{_written(metric, low)} to {_written(metric, high)}"
    return Cell(_written(metric, value), remark=around, sort=float(value))


def _written(metric: Metric, value: float) -> str:
    return metric.printed(value).replace("-", "\N{MINUS SIGN}")
