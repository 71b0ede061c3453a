"""Importance in words and tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import words
from analysis.search.importance_figure import POOR, fit, ordered, title
from analysis.tables import Cell, Head, Table

MEMBERS = "What made each member: what the forest expects of going back to its nearest neighbour that is none"


def tables(importance: pd.DataFrame) -> list[tuple[str, Table]]:
    """A table for each target, with what it is of and how much its forest knows: of one that knows too little no numbers, as
    in the figure.
    """
    order = ordered(importance)
    found = []
    for target, part in importance.groupby("target", sort=False):
        knows = fit(importance, str(target)) >= POOR
        rows = part.set_index("option", drop=False).loc[order].to_dict("records")
        heads = [
            Head("option"),
            Head("settings", "that have it", numeric=True),
            Head("with others", "% of variance, 95 % interval", numeric=True),
            Head("by itself", "% of variance, 95 % interval", numeric=True),
        ]
        cells = [
            [
                Cell(words.option_name(row["option"])),
                Cell(str(row["settings"])),
                _share(row, "permuted")
                if knows
                else Cell("\N{EM DASH}", remark="the forest knows too little", sort=""),
                _share(row, "alone"),
            ]
            for row in rows
        ]
        name, known = title(importance, str(target))
        found.append((f"{name} ({known})" if known else name, Table(heads, cells)))
    return found


def _share(row: Mapping[Any, Any], measure: str) -> Cell:
    value, low, high = (row[f"{measure}{end}"] for end in ("", "_low", "_high"))
    if words.missing(value):
        return Cell("\N{EM DASH}", remark="too few", sort="")
    return Cell(f"{100 * value:.0f}", remark=f"{100 * low:.0f} to {100 * high:.0f}", sort=float(value))
