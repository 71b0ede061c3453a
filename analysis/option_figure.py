"""The figures of options and of measures: what each has to do with both accuracies, trial by trial."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import axes, measured, palette, points, style, words
from analysis.axes import USUAL, Axis
from analysis.collect import OPTION, options
from analysis.palette import Theme, ThemeName
from robustray.measures.metrics import METRICS

_MOST = 12  # options; further ones would be a page of their own
_ROW = 230  # pixels per option


def varied(df: pd.DataFrame) -> list[str]:
    """The option columns that take two values or more among complete trials, in order, as many as are drawn."""
    complete = df[df["status"] == "complete"]
    return [name for name in options(df) if complete[name].map(words.value).nunique() > 1][:_MOST]


def option_figure(
    df: pd.DataFrame, *, objectives: Mapping[str, str] = USUAL, theme: ThemeName = "light"
) -> go.Figure | None:
    """A row per option that varies: clean accuracy over it at the left, robust accuracy at the right, in percent.

    Complete trials without flags stand at the strongest numbers known of them on the selection set (the judge's, a bound, or
    the cheap attack's), those on the frontier in full colour. What is seen is no effect of one option alone: the others
    vary too.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric; they say who is on the frontier.
        theme: colours, "light" or "dark".

    Returns:
        None where no option varies.
    """
    return _panels(df, varied(df), objectives, theme)


def measure_figure(
    df: pd.DataFrame, *, objectives: Mapping[str, str] = USUAL, theme: ThemeName = "light"
) -> go.Figure | None:
    """The same over each measure that was taken of every trial, in its own unit, on tune images.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric; they say who is on the frontier.
        theme: colours, "light" or "dark".

    Returns:
        None where nothing was measured of trials that are no members.
    """
    return _panels(df, measured.of_all(df)[:_MOST], objectives, theme)


def _panels(
    df: pd.DataFrame, named: Sequence[str], objectives: Mapping[str, str], theme: ThemeName
) -> go.Figure | None:
    """A row for each column, both accuracies over it; None for no column."""
    if not named:
        return None
    look = palette.THEMES[theme]
    rows = df[(df["status"] == "complete") & (df["flags"] == "")]
    leading = rows["trial"].isin(points.leaders(df, objectives))
    accuracies = [Axis(name, mode) for name, mode in USUAL.items()]
    figure = make_subplots(
        rows=len(named), cols=len(accuracies), horizontal_spacing=0.12, vertical_spacing=0.36 / len(named)
    )
    for at, name in enumerate(named, start=1):
        for column, axis in enumerate(accuracies, start=1):
            place = {"row": at, "col": column}
            for part, front in ((rows[~leading], False), (rows[leading], True)):
                figure.add_scatter(**_marks(part, name, axis, look, front=front), **place)
            figure.update_xaxes(
                title_text=html.escape(_title(name), quote=False), **_scale(rows[name].dropna()), **place
            )
            figure.update_yaxes(title_text=axis.title, **place)
    return style.laid_out(
        figure, look, showlegend=False, height=_ROW * len(named) + 40, margin={"l": 52, "r": 12, "t": 12, "b": 52}
    )


def _marks(part: pd.DataFrame, name: str, axis: Axis, look: Theme, *, front: bool) -> dict[str, Any]:
    """One panel's marks, of the frontier's trials or of the others."""
    known = part[part[name].notna()]
    text = _text(known[name])
    xs = [words.value(value) for value in known[name]] if text else known[name].astype(float).tolist()
    return {
        "x": xs,
        "y": [points.place({str(key): value for key, value in row.items()}, axis) for row in known.to_dict("records")],
        "mode": "markers",
        "marker": {
            "color": look.plain if front else look.muted,
            "size": 8 if front else 6,
            "opacity": 1.0 if front else 0.45,
        },
        "text": [f"trial {number}" + (", on the frontier" if front else "") for number in known["trial"]],
        "customdata": known["trial"].tolist(),
        "hovertemplate": "%{text}<br>%{x}<br>%{y:.1f} %<extra></extra>",
        "meta": {"kind": "leader" if front else "other", "option": name, "metric": axis.name},
    }


def _title(column: str) -> str:
    if column.startswith(OPTION):
        return words.option_name(column)
    unit = axes.unit(column)
    return METRICS[column].short + (f", {unit}" if unit else "")


def _text(values: pd.Series[Any]) -> bool:
    return not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)


def _scale(values: pd.Series[Any]) -> dict[str, Any]:
    """Numbers over more than a decade on a logarithmic axis, whole numbers with whole ticks, names as they are."""
    if _text(values):
        return {"type": "category"}
    low, high = float(values.min()), float(values.max())
    if palette.logarithmic(low, high):
        ticks = palette.log_ticks(low, high)
        return {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}
    if pd.api.types.is_integer_dtype(values):
        return {"tickmode": "array", "tickvals": palette.whole_ticks(int(low), int(high))}
    return {}
