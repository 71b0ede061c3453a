"""Figures: pure functions from a table to a plotly figure. `points` decides what is drawn, `palette` the colours."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import axes, derivation, labels, palette, points, sight, style, words
from analysis.axes import RANK, USUAL, Axis
from analysis.collect import options
from analysis.palette import Colours, Theme, ThemeName
from analysis.points import Stage
from sweeps.standing import TEST

_MOST_LABELS = 16  # members whose numbers are written beside them; more would be a crowd
_NEVER_IN_VIEW = ("stopped", "diverged", "failed", "paused", "running")  # they would squeeze the frontier into a corner


_View = tuple[list[float], list[float]] | None  # the ranges of both axes
_Plane = tuple[Axis, Axis]


@dataclass(frozen=True)
class _Look:
    """How one kind of trial is drawn, and what the legend calls it."""

    label: str
    symbol: str
    size: float
    opacity: float = 1.0
    coloured: bool = True
    outline: float = 0.0  # width in pixels; of paper, or for open and hollow marks their own colour
    rank: int = 1000  # place in the legend, lowest first
    hollow: bool = False  # filled with paper, so that no interval bar shows through
    ringed: bool = False  # outlined in ink, not in paper: told apart in grey too

    @property
    def derived(self) -> _Look:
        """The same of a point that was made without training: another shape, not another colour."""
        symbol = _STARS.get(self.symbol, self.symbol)
        return replace(self, label=f"{self.label}, derived", symbol=symbol, size=self.size + 2)


_STARS = {
    "circle": "star",
    "circle-open": "star-open",
    "diamond": "star-diamond",
    "triangle-down-open": "star-triangle-down-open",
    "square-open": "star-square-open",
    "bowtie-open": "hexagram-open",
    "hourglass-open": "hexagram-open-dot",
}


def _looks(now: Stage, judge: str, *, tested: bool) -> dict[str, _Look]:
    """The kinds in drawing order, from the least to the most important. Once test is read, its values are the picture."""
    leader = {
        "members": f"frontier, {words.SELECTION_SET}",
        "judging": f"frontier so far, {words.SELECTION_SET}",
        "cheap": f"best so far, {words.CHEAP}",
    }[now]
    return {
        "failed": _Look("failed", "x-thin-open", 6, 0.7, coloured=False, outline=1.4),
        "diverged": _Look("diverged", "asterisk-open", 8, 0.8, coloured=False, outline=1.2),
        "stopped": _Look("stopped early", "line-ew-open", 9, 0.8, coloured=False, outline=1.6),
        "paused": _Look("paused at a rung", "line-ns-open", 9, 0.8, coloured=False, outline=1.6),
        "running": _Look("running", "circle-dot", 8, 0.7, coloured=False),
        "infeasible": _Look("misses a constraint", "square-open", 8, 0.9, outline=1.4),
        "cheap": _Look(f"{words.CHEAP} only", "circle-open", 8, 0.9, outline=1.4),
        "bound": _Look("bound: proven dominated", "triangle-down-open", 9, 0.9, outline=1.4),
        "judged": _Look("judged, dominated", "circle", 8, 0.6, rank=5),
        "flagged": _Look("flagged: not to be trusted", "bowtie-open", 11, outline=1.6, rank=6),
        "leader": _Look(
            leader, "circle", 10 if tested else 12, 0.55 if tested else 1.0, outline=1.4, rank=1, ringed=True
        ),
        "test_dominated": _Look(f"test, dominated there ({judge})", "diamond", 10, outline=1.8, rank=3, hollow=True),
        "test_flagged": _Look(f"flagged on test ({judge})", "hourglass-open", 11, outline=1.6, rank=7),
        "test": _Look(f"test ({judge}), 95{_THIN}% interval", "diamond", 11, outline=1.0, rank=2),
    }


_THIN = "\N{NARROW NO-BREAK SPACE}"


def frontier_figure(
    df: pd.DataFrame,
    *,
    title: str = "",
    objectives: Mapping[str, str] = USUAL,
    theme: ThemeName = "light",
    threat: str = "",
    compared: pd.DataFrame | None = None,
) -> go.Figure:
    """The sweep's objectives against each other: the frontier chosen on the selection set, and what test says of it.

    Two objectives are the axes (accuracies in percent), a third one is the colour. A single one is drawn over the trials'
    rank in it, without a frontier's line.

    Members are joined by the staircase of what is attained, and each is linked to its test result with 95 % Wilson
    intervals, hollow where another member dominates it on test. Trials judged in full, upper bounds of trials proven
    dominated, and flagged, stopped, paused, diverged and failed trials each have their own mark. Before anything is judged
    the numbers of the cheap attack are drawn, and the axes say so. Colour is the first searched option, where no objective
    needs it.

    Points that were derived without training are stars of the same kinds, and the frontier of training alone is a thin line
    where they go beyond it.

    Args:
        df: as `analysis.load` gives it.
        title: plain text over the figure; none where empty.
        objectives: the sweep's, by metric: "max" or "min".
        theme: colours, "light" or "dark".
        threat: plain text behind the robust axis' name, such as "linf, eps 8/255".
        compared: as `analysis.compare` gives it; the simultaneous 95 % band of the frontier is then drawn, for its split.
    """
    look = palette.THEMES[theme]
    now, judge = points.stage(df), words.judge_name(df)
    plane, other = axes.plane(objectives), axes.third(objectives)
    colours = palette.objective(df, other, look) if other else palette.colours(df, options(df), look)
    selected, tested = points.selection_points(df, objectives), points.points_on_test(df, objectives)
    view = _view(selected, tested, plane)
    figure = go.Figure()
    if compared is not None:
        _draw_band(figure, _with_costs(compared, df, plane), points.leaders(df, objectives), view, look, plane)
    _draw_staircase(figure, selected[selected["kind"] == "leader"], view, look, now, plane)
    _draw_trained(figure, selected, derivation.trained_frontier(df, objectives), view, look, plane)
    _draw_links(figure, selected, tested, look)
    numbered = ("test", "test_dominated") if len(tested) else ("leader",)
    marks = pd.concat([tested, selected], ignore_index=True) if len(tested) else selected
    sides = _sides(figure, marks, marks["kind"].isin(numbered), view)
    for kind, drawn_as in _looks(now, _safe(judge), tested=not tested.empty).items():
        source = tested if kind.startswith("test") else selected
        labelled = sides if kind in numbered else {}
        part = source[source["kind"] == kind]
        _draw(figure, kind, drawn_as, part[~part["derived"].astype(bool)], colours, look, labelled=labelled)
        _draw(figure, kind, drawn_as.derived, part[part["derived"].astype(bool)], colours, look, labelled=labelled)
    _draw_categories(figure, colours)
    figure.update_layout(_layout(title, look, colours))
    judged_by = _safe(", ".join(filter(None, [judge, threat])))
    for axis, update, at in zip(plane, (figure.update_xaxes, figure.update_yaxes), (0, 1), strict=True):
        told = judged_by if axis.name == "robust_accuracy" else ""
        note = _note(now, told) if axis.judged else ""
        update(title_text=f"{axis.title}{note}", range=view[at] if view else [0, 100])
        if axis.name == RANK:
            update(tickmode="array", tickvals=palette.whole_ticks(1, max(len(selected), 1)))
    if selected.empty:
        figure.add_annotation(
            text="no trial has finished yet", showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font_size=16
        )
    return figure


def out_of_view(df: pd.DataFrame, objectives: Mapping[str, str] = USUAL) -> int:
    """How many drawn trials lie outside the first view: far below the frontier, at chance level say."""
    selected, tested = points.selection_points(df, objectives), points.points_on_test(df, objectives)
    view = _view(selected, tested, axes.plane(objectives))
    if view is None:
        return 0
    (left, right), (bottom, top) = view
    return int((~(selected["x"].between(left, right) & selected["y"].between(bottom, top))).sum())


def _safe(text: str) -> str:
    """Plain text for plotly, which reads tags and the three entities but no quoted ones."""
    return html.escape(text, quote=False)


def _note(now: Stage, judge: str) -> str:
    """What stands behind an axis' name."""
    if now == "cheap":
        return f"  ({words.SELECTION_SET}, {words.CHEAP}, not judged)"
    return f"  ({judge})" if judge else ""


def _with_costs(compared: pd.DataFrame, df: pd.DataFrame, plane: _Plane) -> pd.DataFrame:
    """What verdicts say of trials, beside what was measured of them in training and is an axis."""
    unjudged = [axis.name for axis in plane if axis.name in df and not axis.judged]
    return compared.merge(df[["trial", *unjudged]], on="trial") if unjudged else compared


def _view(selected: pd.DataFrame, tested: pd.DataFrame, plane: _Plane) -> _View:
    """Ranges of both axes around the frontier and what lies near it, with room for the labels."""
    bearing = selected[~selected["kind"].isin(_NEVER_IN_VIEW)]
    bearing = selected if bearing.empty else bearing
    if bearing.empty:
        return None
    leaders = bearing[bearing["kind"] == "leader"]
    if not leaders.empty and plane[0].name != RANK:
        bearing = sight.near(bearing, leaders, plane)
    x, y = (
        sight.ends(axis, [*bearing[at], *tested[f"{at}_low"], *tested[f"{at}_high"]])
        for at, axis in zip("xy", plane, strict=True)
    )
    return x, y


def _worst(view: tuple[list[float], list[float]], plane: _Plane) -> tuple[float, float]:
    """The corner of the view where both objectives are worst."""
    x, y = (ends[0] if axis.sign > 0 else ends[1] for ends, axis in zip(view, plane, strict=True))
    return x, y


def _draw_band(
    figure: go.Figure, compared: pd.DataFrame, leading: set[int], view: _View, look: Theme, plane: _Plane
) -> None:
    if view is None or plane[0].name == RANK:
        return
    left, bottom = _worst(view, plane)
    xs, ys = points.band(compared, leading, plane, left=left, bottom=bottom)
    if not xs:
        return
    where = "test" if compared["split"].iloc[0] == TEST else words.SELECTION_SET
    figure.add_scatter(
        x=xs, y=ys, mode="lines", fill="toself", fillcolor=look.band, hoverinfo="skip",
        line={"color": look.link, "width": 1, "dash": "dot"},
        name=f"95{_THIN}% band of the frontier, {where}", legendgroup="band", legendrank=8, meta={"kind": "band"},
    )  # fmt: skip


def _draw_staircase(
    figure: go.Figure, leading: pd.DataFrame, view: _View, look: Theme, now: Stage, plane: _Plane
) -> None:
    if leading.empty or view is None or plane[0].name == RANK:
        return
    xs, ys = points.staircase(leading.groupby("setting")[["x", "y"]].mean(), plane)
    left, bottom = _worst(view, plane)
    # Less than the extremes is attained too: the line goes on to both edges of the view.
    xs, ys = [left, *xs, xs[-1]], [ys[0], *ys, bottom]
    name = "attained frontier" if now == "members" else "frontier so far"
    common: dict[str, Any] = {"mode": "lines", "hoverinfo": "skip", "name": name, "legendgroup": "attained"}
    figure.add_scatter(
        x=[left, *xs], y=[bottom, *ys], fill="toself", fillcolor=look.tint, line_width=0, showlegend=False, **common
    )
    line = {"color": look.ink, "width": 1.5, "dash": "solid" if now == "members" else "dash"}
    figure.add_scatter(x=xs, y=ys, line=line, legendrank=4, **common)


def _draw_trained(
    figure: go.Figure, selected: pd.DataFrame, trained: set[int], view: _View, look: Theme, plane: _Plane
) -> None:
    """The frontier that training alone came to, where derived points go beyond it."""
    leading = set(selected.loc[selected["kind"] == "leader", "trial"])
    standing = selected[selected["trial"].isin(trained)]
    beyond = selected["derived"].astype(bool) & selected["trial"].isin(leading)
    if not beyond.any() or standing.empty or view is None or plane[0].name == RANK:
        return
    xs, ys = points.staircase(standing.groupby("setting")[["x", "y"]].mean(), plane)
    left, bottom = _worst(view, plane)
    figure.add_scatter(
        x=[left, *xs, xs[-1]], y=[ys[0], *ys, bottom], mode="lines", hoverinfo="skip", name="frontier of training alone",
        legendgroup="trained", legendrank=5, line={"color": look.muted, "width": 1, "dash": "dashdot"},
    )  # fmt: skip


def _draw_links(figure: go.Figure, selected: pd.DataFrame, tested: pd.DataFrame, look: Theme) -> None:
    pairs = tested.merge(selected, on="trial", suffixes=("_test", ""))
    if pairs.empty:
        return
    xs = [value for start, end in zip(pairs["x"], pairs["x_test"], strict=True) for value in (start, end, None)]
    ys = [value for start, end in zip(pairs["y"], pairs["y_test"], strict=True) for value in (start, end, None)]
    figure.add_scatter(
        x=xs, y=ys, mode="lines", hoverinfo="skip", showlegend=False, legendgroup="test", name="link",
        line={"color": look.link, "width": 1, "dash": "dot"},
    )  # fmt: skip


def _sides(figure: go.Figure, marks: pd.DataFrame, labelled: pd.Series[bool], view: _View) -> dict[int, str]:
    """On which side of its mark each number is written: past the lines that are drawn already, intervals, and marks.

    Args:
        marks: all that will be drawn, with their intervals. labelled: which of them get their number.
    """
    if view is None:
        return {}
    lines = []
    for trace in figure.data:
        if trace.mode == "lines" and trace.line.width:
            ends = list(zip(trace.x, trace.y, strict=True))
            lines += [(start, end) for start, end in pairwise(ends) if None not in (*start, *end)]
    ranged = marks.reindex(columns=["x", "y", "x_low", "x_high", "y_low", "y_high"]).astype(float).dropna()
    for x, y, *ends in ranged.to_numpy().tolist():
        lines += [((ends[0], y), (ends[1], y)), ((x, ends[2]), (x, ends[3]))]
    at = [(float(x), float(y)) for x, y in zip(marks["x"], marks["y"], strict=True)]
    named = {int(n): place for n, place, fits in zip(marks["trial"], at, labelled, strict=True) if fits}
    return labels.sides(named, lines=lines, marks=at, view=view)


def _draw(
    figure: go.Figure,
    kind: str,
    drawn_as: _Look,
    part: pd.DataFrame,
    colours: Colours,
    look: Theme,
    *,
    labelled: Mapping[int, str],
    listed: bool = True,
) -> None:
    if part.empty:
        return
    values = [colours.values[row] for row in part["row"]]
    if (
        len(missing := {value is None for value in values}) == 2
    ):  # an option that only some have: a scale takes numbers alone
        for has_none in (False, True):
            some = part[[(value is None) == has_none for value in values]]
            _draw(figure, kind, drawn_as, some, colours, look, labelled=labelled, listed=not has_none)
        return
    derived = bool(part["derived"].any())
    group = f"{kind} derived" if derived else kind
    scaled = colours.axis is not None and True not in missing
    marker, legend_marker = _marker(drawn_as, [look.muted if v is None else v for v in values], scaled, look)
    bars: dict[str, Any] = {}
    if kind.startswith("test"):
        for axis in ("x", "y"):
            bars[f"error_{axis}"] = {
                "type": "data", "symmetric": False, "color": look.bar, "thickness": 1, "width": 3,
                "array": part[f"{axis}_high"] - part[axis], "arrayminus": part[axis] - part[f"{axis}_low"],
            }  # fmt: skip
    labelled = labelled if len(part) <= _MOST_LABELS else {}
    text = {
        "text": part["trial"].astype(str),
        "textposition": [labelled.get(trial, "top right") for trial in part["trial"]],
        # A halo, for where lines are on all sides of a mark.
        "textfont": {"color": look.muted, "size": 11, "shadow": ", ".join([f"0 0 2px {look.paper}"] * 4)},
    }
    figure.add_scatter(
        x=part["x"].tolist(), y=part["y"].tolist(), marker=marker, name=drawn_as.label, legendgroup=group, showlegend=False,
        mode="markers+text" if labelled else "markers",
        hovertext=part["hover"], hovertemplate="%{hovertext}<extra></extra>",
        meta={"kind": kind, "derived": derived}, customdata=part["trial"].tolist(),
        **bars, **(text if labelled else {}),
    )  # fmt: skip
    # Coloured marks would lend the legend the colour of their first trial: a mark without a place speaks for them.
    figure.add_scatter(
        x=[None], y=[None], mode="markers", marker=legend_marker, name=drawn_as.label, legendgroup=group, showlegend=listed,
        legendrank=drawn_as.rank, hoverinfo="skip",
    )  # fmt: skip


def _marker(drawn_as: _Look, values: list[Any], scaled: bool, look: Theme) -> tuple[dict[str, Any], dict[str, Any]]:
    """Plotly's marker for a kind of trial, and the neutral one of the legend."""
    marker: dict[str, Any] = {"symbol": drawn_as.symbol, "size": drawn_as.size, "opacity": drawn_as.opacity}
    paint = {"color": values if drawn_as.coloured else look.muted}
    if scaled and drawn_as.coloured:
        paint["coloraxis"] = "coloraxis"
    if drawn_as.hollow:
        line: dict[str, Any] = {"width": drawn_as.outline}
        return (
            marker | {"color": look.paper, "line": line | paint},
            marker | {"color": look.paper, "line": line | {"color": look.muted}},
        )
    edge = look.ink if drawn_as.ringed else look.paper
    line = {"width": drawn_as.outline} if "open" in drawn_as.symbol else {"width": drawn_as.outline, "color": edge}
    return marker | {"line": line} | paint, marker | {"line": line, "color": look.muted}


def _draw_categories(figure: go.Figure, colours: Colours) -> None:
    for text, colour in (colours.categories or {}).items():
        figure.add_scatter(
            x=[None], y=[None], mode="markers", marker={"symbol": "square", "size": 10, "color": colour},
            name=_safe(text), legend="legend2", hoverinfo="skip",
        )  # fmt: skip


def _layout(title: str, look: Theme, colours: Colours) -> dict[str, Any]:
    # One size more than other figures: it stands alone, and on a whole screen.
    axis = style.axis(look) | {"tickfont": {"color": look.muted, "size": style.SIZE}}
    axis |= {"title": {"standoff": 12, "font": {"size": style.SIZE + 1}}}
    legend = {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "itemsizing": "trace", "tracegroupgap": 0}
    layout: dict[str, Any] = style.layout(look) | {
        "xaxis": axis,
        "yaxis": axis,
        "margin": {"l": 68, "r": 24, "t": 84 if title else 44, "b": 56},
        "legend": legend | {"orientation": "h", "x": 0, "xanchor": "left", "y": -0.14, "yanchor": "top"},
        "dragmode": "zoom",
    }  # fmt: skip
    if title:
        layout["title"] = {
            "text": _safe(title),
            "x": 0,
            "xref": "paper",
            "y": 0.97,
            "yref": "container",
            "font": {"size": 17},
        }
    if colours.axis is not None:
        layout["coloraxis"] = colours.axis
    if colours.categories:
        name = _safe(words.option_name(colours.option or ""))
        above = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"}
        layout["legend2"] = legend | above | {"title": {"text": f"{name}  ", "side": "left"}}
    return layout
