"""The figure of attainment: the fronts of repeats, and what half of them attain, between what most and what few do."""

from __future__ import annotations

import html

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis import axes, palette, points, style
from analysis.axes import Axis
from analysis.palette import ThemeName
from analysis.search.attainment import LEVELS, Array, Repeats, said

_HEIGHT = 480  # pixels
_FEW, _HALF, _MOST = LEVELS


def attainment_figure(repeats: Repeats, *, theme: ThemeName = "light") -> go.Figure:
    """Two objectives against each other; accuracies in percent.

    Thin lines are the repeats' own fronts, the thick one what half of them attain, and the band lies between what a quarter
    and what three quarters of them do.

    Args:
        repeats: of two objectives.
        theme: colours, "light" or "dark".

    Raises:
        ValueError: there are three objectives.
    """
    if len(repeats.objectives) != 2:
        raise ValueError("attainment of three objectives has no figure, only a table")
    look, plane = palette.THEMES[theme], axes.plane(repeats.objectives)
    at = [list(repeats.objectives).index(axis.name) for axis in plane]
    scale = np.array([axis.scale for axis in plane])
    fronts = {name: front[:, at] * scale for name, front in repeats.fronts.items()}
    every = np.concatenate(list(fronts.values()))
    low, high = every.min(axis=0), every.max(axis=0)
    room = 0.06 * np.where(high > low, high - low, 1.0)
    ends = np.stack([low - room, high + room], axis=1)  # [2, low and high]
    lines = {level: _steps(front[:, at] * scale, plane, ends) for level, front in repeats.surfaces().items()}
    figure = go.Figure()
    out, back = lines[_FEW], lines[_MOST]
    figure.add_scatter(
        x=[*out[0], *back[0][::-1]], y=[*out[1], *back[1][::-1]], mode="lines", fill="toself", fillcolor=look.band,
        line={"width": 0}, hoverinfo="skip", name=f"between {_FEW} % and {_MOST} %",
    )  # fmt: skip
    for number, (name, front) in enumerate(fronts.items()):
        xs, ys = _steps(front, plane, ends)
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": look.muted, "width": 0.9}, opacity=0.6, legendgroup="repeats",
            name=f"each of {len(fronts)} repeats", showlegend=number == 0, meta={"kind": "repeat"},
            hovertemplate=f"{html.escape(name)}<extra></extra>",
        )  # fmt: skip
    for level, (xs, ys) in lines.items():
        width, dash = {_HALF: (2.4, "solid"), _FEW: (1.2, "dot"), _MOST: (1.2, "dash")}[level]
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line={"color": look.plain, "width": width, "dash": dash}, meta={"kind": "surface"},
            name=said(level, len(fronts)), hovertemplate="%{x:.1f}, %{y:.1f}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    note = "" if repeats.numbers == "judged" else " (cheap attack, not judged)"
    figure.update_xaxes(range=ends[0].tolist(), title_text=plane[0].title + note)
    figure.update_yaxes(range=ends[1].tolist(), title_text=plane[1].title + note)
    return style.laid_out(
        figure, look, height=_HEIGHT, margin={"l": 58, "r": 14, "t": 14, "b": 120},
        legend={"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top"},
    )  # fmt: skip


def _steps(front: Array, plane: tuple[Axis, Axis], ends: Array) -> tuple[list[float], list[float]]:
    """The staircase of what a front attains, on to both edges of the picture."""
    if not len(front):
        return [], []
    xs, ys = points.staircase(pd.DataFrame(front, columns=["x", "y"]), plane)
    left, bottom = (axis_ends[0 if axis.sign > 0 else 1] for axis, axis_ends in zip(plane, ends, strict=True))
    return [float(left), *xs, xs[-1]], [ys[0], *ys, float(bottom)]
