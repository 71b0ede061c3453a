"""One style for all figures: axes, fonts, paper."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from analysis.palette import FONT, Theme

SIZE = 12
"""Of text, in pixels, 96 to an inch: 9 points. Ticks are one less, nothing is below SMALLEST."""
SMALLEST = 10


def axis(look: Theme) -> dict[str, Any]:
    """Of an axis: a line with ticks outside, a faint grid, a title in the size of the text."""
    return {
        "gridcolor": look.grid, "zeroline": False, "showline": True, "linecolor": look.muted, "automargin": True,
        "ticks": "outside", "ticklen": 4, "tickcolor": look.muted, "tickfont": {"color": look.muted, "size": SIZE - 1},
        "title": {"font": {"size": SIZE}, "standoff": 10},
    }  # fmt: skip


def layout(look: Theme) -> dict[str, Any]:
    """Of a figure: one paper, one font, what hovering shows."""
    return {
        "template": "none", "paper_bgcolor": look.paper, "plot_bgcolor": look.paper, "hovermode": "closest",
        "font": {"family": FONT, "color": look.ink, "size": SIZE},
        "hoverlabel": {"align": "left", "bgcolor": look.paper, "bordercolor": look.muted, "font": {"color": look.ink}},
    }  # fmt: skip


def laid_out(figure: go.Figure, look: Theme, **more: Any) -> go.Figure:
    """The figure itself, with that style on all of its axes, and what its layout has besides."""
    figure.update_xaxes(**axis(look))
    figure.update_yaxes(**axis(look))
    figure.update_layout(**layout(look), **more)
    return figure
