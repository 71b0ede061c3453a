"""What weaker attacks would have said of each member: the number that a short attack gives beside the judge's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import points, words
from analysis.comparison import Comparison
from analysis.tables import Cell, Head, Table
from robustray.verdicts import CLEAN


def table(comparison: Comparison, df: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """A row for each trial on the frontier: robust accuracy by the cheap attack, by the judge's first attack alone, by all.

    The first attack is on the same images as the judge's number, so the difference is what the later ones found. The cheap
    attack was run on tune images, so that its difference holds the drawing of images as well.

    Args:
        comparison: of the split that decides.
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    leading = [number for number in comparison.broken if number in points.leaders(df, objectives)]
    first = next((name for number in leading for name in comparison.broken[number] if name != CLEAN), None)
    if first is None:
        return Table([])
    heads = [
        Head("trial", numeric=True),
        Head(words.CHEAP, "tune images, %", numeric=True),
        Head(f"{first} alone", "same images, %", numeric=True),
        Head("all attacks", "%", numeric=True),
        Head(f"{words.CHEAP} too high by", "points", numeric=True),
        Head(f"{first} too high by", "points", numeric=True),
    ]
    images = dict(zip(comparison.trials["trial"], comparison.trials["images"], strict=True))
    cheap = dict(zip(df["trial"], df["robust_accuracy"], strict=True))
    rows = []
    for number in leading:
        broken, n = comparison.broken[number], images[number]
        alone, judged = (n - broken.get(CLEAN, 0) - broken.get(first, 0)) / n, (n - sum(broken.values())) / n
        rows.append(
            [
                Cell(str(number), mark="trial"),
                _share(cheap[number]),
                _share(alone),
                _share(judged, mark="strong"),
                _difference(cheap[number] - judged),
                _difference(alone - judged),
            ]
        )
    return Table(heads, rows)


def _share(fraction: Any, mark: str = "") -> Cell:
    return Cell(words.number(fraction), sort="" if words.missing(fraction) else float(fraction), mark=mark)


def _difference(fraction: Any) -> Cell:
    return Cell(words.points(fraction), sort="" if words.missing(fraction) else float(fraction))
