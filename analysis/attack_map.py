"""Which attack broke which image of which member: a map of images against members, from their verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis import axes, palette, points, style
from analysis.axes import USUAL
from analysis.comparison import Paired
from analysis.palette import ThemeName
from robustray.verdicts import CLEAN

_MOST_IMAGES = 400  # columns; of more images every second, third ... in their order
_MOST_MODELS = 40
_ROW = 26  # pixels


def attack_map(
    models: Paired, df: pd.DataFrame, *, objectives: Mapping[str, str] = USUAL, theme: ThemeName = "light"
) -> go.Figure | None:
    """A row for each trial on the frontier, a column for each image, coloured by what broke it first.

    Images go from those that most members lose to those that all keep, and among equals from what falls early to what falls
    late, so that members can be compared down a column: what one loses and another keeps.

    Args:
        models: verdicts on one split.
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric; they say who is on the frontier.
        theme: colours, "light" or "dark".

    Returns:
        None where no trial on the frontier is judged in full.
    """
    rows = _leading(models, df, objectives)
    if not rows or models.first is None:
        return None
    look, numbers = palette.THEMES[theme], [str(models.trials[row]) for row in rows]
    codes = models.first[rows]
    order = _order(codes, len(models.stages))
    shown = codes[:, order][:, :: -(-len(order) // _MOST_IMAGES)]
    names = ["wrong as it is" if name == CLEAN else f"broken by {name}" for name in models.stages] + ["stands"]
    # From early to late, and away from ink: an order that grey print keeps.
    scale = look.scale[2:] if theme == "light" else look.scale[-3::-1]
    attacks = [scale[round(at)] for at in np.linspace(0, len(scale) - 1, max(len(models.stages) - 1, 1))]
    colours = [look.ink, *attacks[: len(models.stages) - 1], look.grid]
    z = np.where(shown < 0, len(models.stages), shown)
    steps = [(end, colour) for at, colour in enumerate(colours) for end in (at / len(names), (at + 1) / len(names))]
    figure = go.Figure()
    figure.add_heatmap(
        z=z.tolist(), y=numbers, zmin=-0.5, zmax=len(names) - 0.5, colorscale=steps, showscale=False, ygap=3,
        text=[[names[code] for code in row] for row in z], hovertemplate="trial %{y}: %{text}<extra></extra>",
        customdata=[models.trials[row] for row in rows],
    )  # fmt: skip
    for name, colour in zip(names, colours, strict=True):
        figure.add_scatter(
            x=[None], y=[None], mode="markers", name=name, hoverinfo="skip",
            marker={"symbol": "square", "size": 11, "color": colour, "line": {"width": 1, "color": look.muted}},
        )  # fmt: skip
    title = f"{len(order):,} images, the hardest at the left"
    style.laid_out(
        figure, look, height=_ROW * len(rows) + 150,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}, margin={"l": 60, "r": 12, "t": 60, "b": 44},
    )  # fmt: skip
    figure.update_xaxes(ticks="", showline=False, showticklabels=False, title_text=title, showgrid=False)
    figure.update_yaxes(
        type="category", autorange="reversed", title_text="trial", ticks="", showline=False, showgrid=False
    )
    return figure


def _leading(models: Paired, df: pd.DataFrame, objectives: Mapping[str, str]) -> list[int]:
    """Rows of the verdicts of trials on the frontier, along the first objective from its best value."""
    along = axes.along(objectives)
    column = along.column("judged_")
    frame = df[df["trial"].isin(points.leaders(df, objectives)) & df["trial"].isin(models.trials)]
    ordered = frame.sort_values([column, "trial"], ascending=[along.sign < 0, True])["trial"].tolist()
    return [models.trials.index(number) for number in ordered[:_MOST_MODELS]]


def _order(codes: np.ndarray[Any, Any], stages: int) -> np.ndarray[Any, Any]:
    """Images by how many models keep them, then by when they fall on average."""
    keep = (codes < 0).sum(axis=0)
    late = np.where(codes < 0, stages, codes).mean(axis=0)
    return np.lexsort((late, keep))
