"""How far a sweep's cheap numbers can be trusted, as a table: each against the judge, on trials that got both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import axes, words
from analysis.tables import Cell, Head, Table
from sweeps import agreement
from sweeps.record import Snapshot

_COLUMNS = ["metric", "rung", "n", "tau", "low", "high", "drop", "largest", "trial"]


def audit(snapshot: Snapshot) -> pd.DataFrame:
    """A row for each cheap measure that a trial has which was judged in full on the selection set: `sweeps.agreement.audit`.

    Columns `metric`; `rung`, <NA> for the end of training; `n` trials; Kendall's `tau` (b) and the ends `low`, `high` of its
    95 % interval, nan for fewer than 3 trials or a constant; `drop`, the mean of cheap less judged, as a fraction; the
    `largest` drop, and its `trial`.
    """
    rows = [
        [each.metric, each.rung, each.tau.n, each.tau.value, each.tau.low, each.tau.high, each.drop, each.largest, each.trial]
        for each in agreement.audit(agreement.pairs(snapshot))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"rung": "Int64"})


def table(audited: pd.DataFrame) -> Table:
    """The same for a page or a terminal; empty where nothing was measured twice."""
    heads = [
        Head("measure"),
        Head("measured"),
        Head("trials", numeric=True),
        Head("Kendall's tau", "95 % interval", numeric=True),
        Head("mean drop", "cheap \N{MINUS SIGN} judged, points", numeric=True),
        Head("largest drop", "points", numeric=True),
    ]
    rows = [
        [
            Cell(axes.spoken(row["metric"])),
            Cell("end of training" if words.missing(row["rung"]) else f"rung {row['rung'] + 1}"),
            Cell(str(row["n"])),
            _tau(row),
            Cell(words.points(row["drop"]), sort=float(row["drop"])),
            Cell(words.points(row["largest"]), remark=f"trial {row['trial']}", sort=float(row["largest"])),
        ]
        for row in audited.to_dict("records")
    ]
    return Table(heads, rows)


def _tau(row: Mapping[Any, Any]) -> Cell:
    if words.missing(row["tau"]):
        return Cell("\N{EM DASH}", remark="too few", sort="")
    tau, low, high = (f"{row[end]:.2f}".replace("-", "\N{MINUS SIGN}") for end in ("tau", "low", "high"))
    return Cell(tau, remark=f"{low} to {high}", sort=float(row["tau"]))
