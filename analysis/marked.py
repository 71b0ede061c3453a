"""The frontier figure of a sweep with one trial marked, and published models beneath it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from analysis import axes, collect, page, palette, points, published, sheet
from analysis.axes import USUAL
from analysis.figures import frontier_figure
from robustray.errors import UserError
from sweeps import record

_ROOM = 1.0  # percent around published models that the figure is opened to


def of_sweep(folder: Path, trial: int | None = None, beneath: str | None = None) -> go.Figure:
    """The frontier figure of a sweep as its report draws it.

    Args:
        folder: the sweep's. trial: whose mark has a ring, on test where it was read; None: none.
        beneath: the published frontier to draw, `cifar10:linf` or, of one class of architectures, `cifar10:linf:resnet18`.

    Raises:
        UserError: there is no readable record, no such trial or nothing measured of it, or nothing published of that kind.
    """
    snapshot, about = record.read(folder), sheet.read(folder)
    df, objectives = collect.table(snapshot), snapshot.objectives
    figure = frontier_figure(
        df, title=page.figure_title(about, folder, objectives), objectives=objectives, threat=about.threat
    )
    if beneath is not None:
        draw_published(figure, beneath, objectives)
    if trial is not None:
        draw_mark(figure, df, trial, objectives)
    return figure


def draw_mark(figure: go.Figure, df: pd.DataFrame, trial: int, objectives: Mapping[str, str] = USUAL) -> None:
    """A ring around a trial, where it stands on test, else on the selection set; raises as `of_sweep`."""
    if trial not in set(df["trial"]):
        raise UserError(f"--trial {trial}: the sweep has no such trial; it has {len(df)}, counted from 0")
    for places in (points.points_on_test(df, objectives), points.selection_points(df, objectives)):
        here = places[places["trial"] == trial]
        if not here.empty:
            break
    else:
        raise UserError(f"--trial {trial}: nothing is measured of it yet")
    look = palette.THEMES["light"]
    figure.add_scatter(
        x=here["x"], y=here["y"], mode="markers", hoverinfo="skip", name=f"trial {trial}", legendrank=1,
        marker={"symbol": "circle-open", "size": 22, "color": look.ink, "line": {"width": 2.5}}, meta={"kind": "mark"},
    )  # fmt: skip


def draw_published(figure: go.Figure, beneath: str, objectives: Mapping[str, str] = USUAL) -> None:
    """Published models that no other dominates, joined as what is attained; raises as `of_sweep`."""
    plane = axes.plane(objectives)
    if tuple(axis.name for axis in plane) != tuple(USUAL):
        raise UserError(
            f"--published {beneath}: the figure is of {plane[0].title} and {plane[1].title}, not of accuracies"
        )
    data, _, rest = beneath.partition(":")
    threat, _, kind = rest.partition(":")
    if not data or not threat:
        raise UserError(f"--published {beneath}: must look like cifar10:linf or cifar10:linf:resnet18")
    found = published.frontier(published.table(data, threat, architecture=kind or None))
    standing = pd.DataFrame({"x": 100 * found["clean_accuracy"], "y": 100 * found["robust_accuracy"]})
    xs, ys = points.staircase(standing, plane)
    look = palette.THEMES["light"]
    name = f"published, {' '.join(filter(None, (data, threat, kind)))}"
    figure.add_scatter(
        x=xs, y=ys, mode="lines", hoverinfo="skip", name=name, legendgroup="published", legendrank=9,
        line={"color": look.muted, "width": 1, "dash": "dot"}, meta={"kind": "published"},
    )  # fmt: skip
    figure.add_scatter(
        x=standing["x"], y=standing["y"], mode="markers", hovertext=found["entry"], name=name, legendgroup="published",
        hovertemplate="%{hovertext}<extra></extra>", showlegend=False, meta={"kind": "published"},
        marker={"symbol": "x-thin-open", "size": 8, "color": look.muted},
    )  # fmt: skip
    for axis, at in ((figure.layout.xaxis, "x"), (figure.layout.yaxis, "y")):
        low, high = axis.range
        axis.range = [min(low, standing[at].min() - _ROOM), max(high, standing[at].max() + _ROOM)]
