"""How series are told apart: by colour, by dash and by symbol at once, so that grey print and colour-blind eyes can too."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import style
from analysis.palette import Theme

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "triangle-down", "star")
MOST = 7
"""Series in one figure: more cannot be told apart."""
WIDE = 760
"""Pixels of a page's width."""


def line(look: Theme, at: int) -> dict[str, Any]:
    """Of the series with this number."""
    return {"color": look.categories[at % len(look.categories)], "dash": DASHES[at % len(DASHES)], "width": 1.8}


def mark(look: Theme, at: int, *, hollow: bool = False) -> dict[str, Any]:
    """Of the series with this number; hollow for what is not our own."""
    symbol = SYMBOLS[at % len(SYMBOLS)]
    return {
        "color": look.categories[at % len(look.categories)],
        "symbol": f"{symbol}-open" if hollow else symbol,
        "size": 7,
    }


def spread(errors: Sequence[float] | pd.Series[float], times: float = 1) -> dict[str, Any]:
    """Error bars of one standard error to either side; nothing where none is known."""
    known = [0.0 if error != error else times * float(error) for error in errors]
    return {"type": "data", "array": known, "thickness": 1, "width": 3, "visible": any(known)}


def plain(text: object) -> str:
    """Text as a figure shows it, whatever is in it."""
    return html.escape(str(text), quote=False)


def series(
    look: Theme,
    at: int,
    name: str,
    x: pd.Series[Any],
    y: pd.Series[Any],
    *,
    legend: bool = True,
    more: Mapping[str, Any] | None = None,
) -> go.Scatter:
    """A line with marks for the series with this number."""
    return go.Scatter(
        x=x.tolist(), y=y.tolist(), mode="lines+markers", name=plain(name), legendgroup=plain(name), showlegend=legend,
        line=line(look, at), marker=mark(look, at), **(more or {}),
    )  # fmt: skip


def clear(figure: go.Figure) -> None:
    """Axes that begin a little before their first mark, which is else cut in half."""
    figure.update_traces(cliponaxis=False, selector={"type": "scatter"})


def reference(look: Theme, published: pd.DataFrame) -> go.Scatter:
    """Published models, hollow and in grey, with their names: columns entry, clean, robust (fractions)."""
    return go.Scatter(
        x=(100 * published["clean"]).tolist(), y=(100 * published["robust"]).tolist(), mode="markers+text",
        text=[plain(entry) for entry in published["entry"]], textposition="top center", name="published",
        textfont={"size": style.SMALLEST, "color": look.muted},
        marker={"symbol": "hexagon-open", "size": 10, "color": look.muted},
        meta={"kind": "published"},
    )  # fmt: skip


def with_legend(figure: go.Figure, entries: int) -> go.Figure:
    """With room above for a legend of so many entries; more than a page holds stand below each other at the right."""
    lines = -(-entries // 4)
    if lines > 4:
        return figure.update_layout(
            legend={"orientation": "v", "yref": "paper", "y": 1, "yanchor": "top", "x": 1.02},
            margin={"t": 24, "r": 170},
        )
    return figure.update_layout(margin={"t": 44 + 20 * lines}, height=figure.layout.height + 20 * (lines - 1))


def groups(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows by what is told apart in a figure of marks: labels where they are few, else what labels begin with (`TRADES` of
    `TRADES, beta 6`), else nothing.
    """
    for names in (rows["label"], rows["label"].str.partition(",")[0]):
        if names.nunique() <= MOST:
            return [(str(name), part) for name, part in rows.groupby(names, sort=False)]
    return [("models", rows)]
