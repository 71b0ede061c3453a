"""The figure of several frontiers, with published ones beneath, and that of what was reached for its cost."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis import axes, palette, points, published, style
from analysis.axes import USUAL
from analysis.frontiers.compared import HOURS, Compared
from analysis.frontiers.differing import SERIOUS
from analysis.frontiers.fronts import Floats, Front
from analysis.palette import ThemeName
from analysis.pareto import wilson
from analysis.search.attainment import surfaces
from analysis.sheet import threat_in_words
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES

SIZE = 900, 600  # pixels
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
_FEWEST = 5  # models of a class that is drawn where none is named
_NEAR = 0.03, 0.015  # of both accuracies: names of models so close would cover each other
_HALF = 50  # percent of repetitions


def beneath(names: Sequence[str]) -> pd.DataFrame:
    """Published frontiers by class of architecture: `cifar10:linf:resnet18`, `cifar10:linf` for classes of 5 models or more.

    Returns:
        The rows of `published.frontier` of each class, best clean accuracy first, with `label`.

    Raises:
        UserError: a name is none, or nothing is published of that kind.
    """
    parts = []
    for name in names:
        data, _, rest = name.partition(":")
        threat, _, kind = rest.partition(":")
        if not data or not threat:
            raise UserError(f"--published {name}: must look like cifar10:linf or cifar10:linf:resnet18")
        rows = published.table(data, threat, architecture=kind or None)
        counts = rows["architecture_class"].value_counts()
        classes = [kind] if kind else [each for each in counts.index if counts[each] >= _FEWEST and each != "other"]
        for each in classes or list(counts.index):
            found = published.frontier(rows[rows["architecture_class"] == each])
            parts.append(found.sort_values("clean_accuracy", ascending=False).assign(label=each))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["label", *ACCURACIES])


def elsewhere(of: Compared, below: pd.DataFrame) -> list[str]:
    """What to know where published models were judged under another threat or on other data."""
    if below.empty:
        return []
    theirs = list(below.drop_duplicates(["dataset", "threat", "eps"]).to_dict("records"))
    unlike = [front for front in of.fronts if not any(_alike(front, kind) for kind in theirs)]
    if not unlike:
        return []
    listed = "; ".join(
        f"{_data(front)}, {threat_in_words(front.parts.get('threat') or {})} ({front.name})" for front in unlike
    )
    kinds = dict.fromkeys(f"{kind['dataset']}, {kind['threat']}, eps {kind['eps']}" for kind in theirs)
    return [f"{SERIOUS}published models beneath are of {' or '.join(kinds)}, and not of {listed}"]


def _data(front: Front) -> str:
    data = front.about.judge.get("data")
    return str(data.get("name") if isinstance(data, dict) else data)


def _alike(front: Front, kind: Mapping[Any, Any]) -> bool:
    """Whether a sweep's judge is that of published models; 0.031 is the 8/255 of some papers."""
    threat = front.parts.get("threat") or {}
    try:
        near = math.isclose(float(threat["eps"]), float(Fraction(str(kind["eps"]))), rel_tol=0.02)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return False
    return near and (_data(front), threat.get("norm")) == (kind["dataset"], kind["threat"])


def frontiers_figure(of: Compared, below: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Clean against robust accuracy in percent: a colour, a mark and a dash for each search.

    Of a search that was repeated the thick line is what half of its sweeps attain, the thin ones are the sweeps' own fronts.

    Args:
        of: sweeps. below: as `beneath` gives it, in grey, with the class written at its most robust model.
        theme: "light" or "dark".
    """
    look, plane = palette.THEMES[theme], axes.plane(USUAL)
    figure = go.Figure()
    sides = _sides(below)
    for label, rows in below.groupby("label", sort=False):
        at = pd.DataFrame({"x": 100 * rows["clean_accuracy"], "y": 100 * rows["robust_accuracy"]})
        xs, ys = points.staircase(at, plane)
        line = {"color": look.muted, "width": 1, "dash": "dot"}
        figure.add_scatter(
            x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", name="published, by class", legendgroup="published",
            legendrank=2000, showlegend=label == below["label"].iloc[0], meta={"kind": "published"},
        )  # fmt: skip
        figure.add_scatter(
            x=at["x"], y=at["y"], mode="markers+text", showlegend=False, legendgroup="published", meta={"kind": "published"},
            marker={"symbol": "x-thin-open", "size": 6, "color": look.muted}, hovertext=rows["entry"].map(html.escape),
            hovertemplate="%{hovertext}<br>%{x:.1f} % clean, %{y:.1f} % robust<extra></extra>",
            text=[str(label) if place == at["y"].idxmax() else "" for place in at.index], textposition=sides[str(label)],
            textfont={"size": 10, "color": look.muted},
        )  # fmt: skip
    for number, search in enumerate(dict.fromkeys(front.search for front in of.fronts)):
        _draw(figure, of, search, number, theme)
    where = "test" if of.split == "test" else "selection set"
    (left, right), (bottom, top) = _view(of, below)
    figure.update_xaxes(title_text=f"clean accuracy on {where}, %", range=[left, right])
    figure.update_yaxes(title_text=f"robust accuracy on {where}, %", range=[bottom, top])
    return _laid_out(figure, look)


def cost_figure(of: Compared, *, theme: ThemeName = "light") -> go.Figure:
    """What each sweep had reached for its device-hours of training: hypervolume by the cheap attack on validation.

    A dotted line stands at the budget that all of them had.
    """
    look = palette.THEMES[theme]
    figure = go.Figure()
    searches = list(dict.fromkeys(front.search for front in of.fronts))
    for name, rows in of.curves.groupby("sweep", sort=False):
        search = str(rows["search"].iloc[0])
        number = searches.index(search)
        figure.add_scatter(
            x=[0.0, *rows[HOURS]], y=[0.0, *rows["hypervolume"]], mode="lines", legendgroup=search,
            line={"shape": "hv", "color": _colour(look, number), "width": 1.8, "dash": _DASHES[number % len(_DASHES)]},
            name=html.escape(search, quote=False), showlegend=name == search, meta={"kind": "cost"},
            hovertemplate=f"{html.escape(str(name))}<br>%{{x:.3g}} device-hours: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    if np.isfinite(of.budget):
        figure.add_vline(x=of.budget, line={"color": look.muted, "width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="training, device-hours", rangemode="tozero")
    figure.update_yaxes(title_text="hypervolume on validation, cheap attack", rangemode="tozero")
    return _laid_out(figure, look)


def _sides(below: pd.DataFrame) -> dict[str, str]:
    """Where the name of each class stands: left of its most robust model, right where its neighbour's name would be."""
    best = below.sort_values("robust_accuracy").groupby("label").tail(1).sort_values("clean_accuracy")
    places = best[["label", *ACCURACIES]].to_numpy().tolist()
    sides: dict[str, str] = {}
    before: list[Any] | None = None
    for label, clean, robust in places:
        near = before is not None and clean - before[1] < _NEAR[0] and abs(robust - before[2]) < _NEAR[1]
        sides[str(label)] = (
            "top right" if near and before is not None and sides[str(before[0])] == "top left" else "top left"
        )
        before = [label, clean, robust]
    return sides


def _view(of: Compared, below: pd.DataFrame) -> list[list[float]]:
    """The ranges of both axes: the sweeps' points and the most robust of each published class; their tails run out of it."""
    best = below.sort_values("robust_accuracy").groupby("label").tail(1)
    every = 100 * np.concatenate([_reached(of), best[list(ACCURACIES)].to_numpy(dtype=float)])
    low, high = every.min(axis=0), every.max(axis=0)
    room = np.maximum(0.1 * (high - low), 2.0)
    return np.stack([np.maximum(low - room, -1), np.minimum(high + room, 101)], axis=1).tolist()  # type: ignore[no-any-return]


def _reached(of: Compared) -> Floats:
    """Both accuracies [n, 2] of all points, and where bars are drawn of the ends of their intervals."""
    searches = [front.search for front in of.fronts]
    ends = [of.points[list(ACCURACIES)].to_numpy(dtype=float)]
    for front in of.fronts:
        if searches.count(front.search) == 1:
            count = len(front.images)
            low_high = np.array(
                [[wilson(p * count, count) for p in point] for point in front.points]
            )  # [n, 2, low and high]
            ends += [low_high[..., 0], low_high[..., 1]]
    return np.concatenate(ends)


def _draw(figure: go.Figure, of: Compared, search: str, number: int, theme: ThemeName) -> None:
    """One search: its points, each sweep's front, and the median of several."""
    look, plane = palette.THEMES[theme], axes.plane(USUAL)
    colour, dash = _colour(look, number), _DASHES[number % len(_DASHES)]
    sweeps = [front for front in of.fronts if front.search == search]
    single = len(sweeps) == 1
    name = html.escape(search if single else f"{search}, half of {len(sweeps)} sweeps", quote=False)
    for front in sweeps:
        places = pd.DataFrame(100 * front.points, columns=["x", "y"])
        xs, ys = points.staircase(places, plane)
        figure.add_scatter(
            x=xs, y=ys, mode="lines", hoverinfo="skip", legendgroup=search, name=name, showlegend=False,
            line={"color": colour, "width": 2.2 if single else 0.9, "dash": dash}, opacity=1.0 if single else 0.55,
            meta={"kind": "front"},
        )  # fmt: skip
        error_x, error_y = (_bars(front.points[:, at], len(front.images), look, visible=single) for at in range(2))
        figure.add_scatter(
            x=places["x"], y=places["y"], mode="markers", legendgroup=search, name=name, showlegend=single,
            error_x=error_x, error_y=error_y,
            marker={"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 9 if single else 6, "color": colour},
            hovertext=[f"{html.escape(front.name)}, trial {trial}" for trial in front.trials],
            hovertemplate="%{hovertext}<br>%{x:.1f} % clean, %{y:.1f} % robust<extra></extra>", meta={"kind": "points"},
        )  # fmt: skip
    if single:
        return
    median = surfaces([front.points for front in sweeps], [True, True], [_HALF])[_HALF]
    xs, ys = points.staircase(pd.DataFrame(100 * median, columns=["x", "y"]), plane)
    figure.add_scatter(
        x=xs, y=ys, mode="lines", hoverinfo="skip", legendgroup=search, name=name, meta={"kind": "median"},
        line={"color": colour, "width": 2.8, "dash": dash},
    )  # fmt: skip


def _bars(accuracies: Floats, images: int, look: palette.Theme, *, visible: bool) -> dict[str, Any]:
    """Each accuracy's own 95 % Wilson interval, in percent."""
    ends = np.array([wilson(p * images, images) for p in accuracies])
    up, down = 100 * (ends[:, 1] - accuracies), 100 * (accuracies - ends[:, 0])
    style = {"type": "data", "symmetric": False, "thickness": 0.8, "width": 0, "color": look.bar}
    return style | {"array": up, "arrayminus": down, "visible": visible}


def _colour(look: palette.Theme, number: int) -> str:
    return look.categories[number % len(look.categories)]


def _laid_out(figure: go.Figure, look: palette.Theme) -> go.Figure:
    return style.laid_out(
        figure, look, height=SIZE[1], margin={"l": 62, "r": 20, "t": 20, "b": 60},
        legend={"orientation": "h", "x": 0, "y": -0.12, "yanchor": "top"},
    )  # fmt: skip
