"""The figure of a benchmark of searches: median regret against cost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def figure(path: Path, title: str, costs: Array, curves: dict[str, Array]) -> None:
    """Medians of [sweeps, costs] regrets as steps, one line each, and for the first two the quartiles as bands.

    Args:
        path: of the PNG. costs: in whole trainings.
    """
    import plotly.graph_objects as go
    from _bench import machine

    from analysis.palette import THEMES
    from analysis.picture import png

    look, drawn = THEMES["light"], go.Figure()
    dashes = ("solid", "dash", "dot", "dashdot")
    for place, (name, regrets) in enumerate(curves.items()):
        colour = look.categories[place % len(look.categories)]
        if place < 2:
            low, high = np.quantile(regrets, [0.25, 0.75], axis=0)
            drawn.add_scatter(
                x=[*costs, *costs[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.12,
                line={"width": 0}, showlegend=False, hoverinfo="skip",
            )  # fmt: skip
        line = {"color": colour, "shape": "hv", "dash": dashes[place // len(look.categories)]}
        drawn.add_scatter(
            x=costs, y=np.median(regrets, axis=0), name=f"{name} ({len(regrets)})", mode="lines", line=line
        )
    axis = {"gridcolor": look.grid, "linecolor": look.muted}
    said = "medians over sweeps, their number in brackets; bands: the middle half of the first two"
    drawn.update_layout(
        title={"text": f"{title}<br><sub>{said}<br>{machine()}</sub>", "x": 0.02},
        paper_bgcolor=look.paper, plot_bgcolor=look.paper, font={"color": look.ink},
        xaxis={**axis, "title": "cost, whole trainings"},
        yaxis={**axis, "title": "share of the best hypervolume lacking", "range": [0, 1]},
        width=860, height=560, margin={"l": 60, "r": 20, "t": 110, "b": 50},
    )  # fmt: skip
    path.parent.mkdir(exist_ok=True)
    try:
        path.write_bytes(png(drawn))
    except Exception as error:
        print(f"{path.name} was not drawn: {str(error).splitlines()[0]}")
