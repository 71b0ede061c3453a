"""How far a sweep's cheap numbers can be trusted, as a table: each against the judge, on trials that got both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import axes, words
from analysis.tables import Cell, Head, Table
from sweeps import agreement
from sweeps.record import Snapshot

_COLUMNS = [
    "metric",
    "rung",
    "n",
    "tau",
    "low",
    "high",
    "drop",
    "largest",
    "trial",
    "first_epoch",
    "last_epoch",
    "look",
]


def audit(snapshot: Snapshot, *, one_list: bool = False) -> pd.DataFrame:
    """A row for each cheap measure that a trial has which was judged in full on the selection set: `sweeps.agreement.audit`.

    Where both look at one list of images, clean accuracy at the end of training is the judge's own number: it has no row.

    Columns `metric`; `rung`, <NA> for the end of training; `n` trials; Kendall's `tau` (b) and the ends `low`, `high` of its
    95 % interval (`sweeps.agreement.tau`), nan for fewer than 3 trials or a constant; `drop`, the mean of cheap less judged, as
    a fraction; the `largest` drop, and its `trial`; `first_epoch`, `last_epoch`, between which the trials were measured;
    `look`, whether by a cheap look before their training.

    Args:
        snapshot: the sweep's record. one_list: whether trials are tuned on the judge's images, as `Sheet.one_list` has it.
    """
    rows = [
        [each.metric, each.rung, each.tau.n, each.tau.value, each.tau.low, each.tau.high, each.drop, each.largest, each.trial,
         *each.epochs, each.look]
        for each in agreement.audit(agreement.pairs(snapshot))
        if not (one_list and each.metric == "clean_accuracy" and each.rung is None)
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
            Cell(_measured(row)),
            Cell(str(row["n"])),
            _tau(row),
            Cell(words.points(row["drop"]), sort=float(row["drop"])),
            Cell(words.points(row["largest"]), remark=f"trial {row['trial']}", sort=float(row["largest"])),
        ]
        for row in audited.to_dict("records")
    ]
    return Table(heads, rows)


def _measured(row: Mapping[Any, Any]) -> str:
    """When it was, in words: rungs are shares of training, and trainings may differ in length."""
    if words.missing(row["rung"]):
        return "end of training"
    low, high = row["first_epoch"], row["last_epoch"]
    epochs = f"{low}" if low == high else f"{low} to {high}"
    if row["look"]:
        return f"a look, of {words.count(low, 'epoch') if low == high else f'{epochs} epochs'}"
    return f"{'epoch' if low == high else 'epochs'} {epochs}"


def _tau(row: Mapping[Any, Any]) -> Cell:
    if words.missing(row["tau"]):
        return Cell("\N{EM DASH}", remark="too few", sort="")
    tau, low, high = (f"{row[end]:.2f}".replace("-", "\N{MINUS SIGN}") for end in ("tau", "low", "high"))
    return Cell(tau, remark=f"{low} to {high}", sort=float(row["tau"]))
