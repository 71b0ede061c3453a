"""What a figure is made of: its axes, what is drawn on them, its colours and its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.palette import Theme
from tests.analysis.drawing import colours

UNITS: Mapping[str, str] = {
    r"accuracy|share|variance|fooling rate": "%",
    r"^\w* ?(radius|distance|eps)\b": "pixels|length",
    r"training$|device time": "hours|seconds|passes",
}
"""Quantities that have a unit, and what of it an axis must say."""
_COLOURS = re.compile(r"colou?r$")


def tables(value: Any) -> Iterator[pd.DataFrame | np.ndarray[Any, Any]]:
    """All tables and arrays in an argument, in a fixed order."""
    if isinstance(value, pd.DataFrame | np.ndarray):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tables(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from tables(getattr(value, field.name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from tables(each)


def of_legend(trace: Any) -> bool:
    """Whether it has no place: it stands for others in the legend."""
    x = trace.to_plotly_json().get("x")
    return x is not None and len(x) == 1 and x[0] is None


def drawn(figure: go.Figure) -> list[Any]:
    """The traces that have a place."""
    return [trace for trace in figure.data if not of_legend(trace)]


def axes(figure: go.Figure, letter: str) -> Iterator[tuple[str, Any]]:
    """Axes that something is drawn on, by their names in traces: `x`, `x2`."""
    used = {trace[f"{letter}axis"] or letter for trace in drawn(figure)}
    for name in sorted(used):
        yield name, figure.layout[f"{letter}axis{name[1:]}"]


def numbers(values: Any) -> np.ndarray[Any, Any] | None:
    """As floats, gaps left out; None where they are names."""
    known = [value for value in np.asarray(values, dtype=object).ravel() if value is not None]
    if any(isinstance(value, str) for value in known):
        return None
    return np.asarray(known, dtype=float)


def spoken(figure: go.Figure, letter: str, name: str, axis: Any) -> str | None:
    """The title of an axis, or of one that stands in its place at the edge of a grid of panels; None where it has names for
    ticks, which say what they are.
    """
    if axis.title.text:
        return str(axis.title.text)
    for trace in drawn(figure):
        if (trace[f"{letter}axis"] or letter) == name and numbers(
            trace[letter] if trace[letter] is not None else []
        ) is None:
            return None
    if any(not re.fullmatch(r"[-\d.e+]*", str(text)) for text in axis.ticktext or ()):
        return None
    across = "y" if letter == "x" else "x"
    partner = _partners(figure, letter)
    for other, there in axes(figure, letter):
        same = [figure.layout[f"{letter}axis{each[1:]}"].domain for each in (name, other)]
        first, second = (figure.layout[f"{across}axis{partner[each][1:]}"].domain for each in (name, other))
        at_edge = first is not None and second is not None and second[0] < first[0]
        if there.title.text and same[0] == same[1] and at_edge:
            return str(there.title.text)
    return ""


def _partners(figure: go.Figure, letter: str) -> dict[str, str]:
    across = "y" if letter == "x" else "x"
    return {trace[f"{letter}axis"] or letter: trace[f"{across}axis"] or across for trace in drawn(figure)}


def opaque(figure: go.Figure) -> Iterator[str]:
    """Every colour that a trace names, without transparency, those of scales too."""
    for path, value in walked(figure.to_plotly_json()["data"]):
        if _COLOURS.search(path) and isinstance(value, str) and value.startswith(("#", "rgb")):
            yield value
        elif path.endswith("colorscale"):
            yield from (colour for _, colour in value)


def walked(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves by their place; a list of pairs and an array are leaves."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from walked(each, f"{path}.{key}")
    elif isinstance(value, list | tuple) and not path.endswith("colorscale"):
        for each in value:
            yield from walked(each, path)
    else:
        yield path, value


def of_theme(look: Theme) -> set[str]:
    """Its colours."""
    single = (look.paper, look.ink, look.muted, look.grid, look.tint, look.band, look.link, look.bar, look.plain)
    return {*single, *look.scale, *look.categories}


def told_apart(figure: go.Figure) -> Iterator[tuple[str, str]]:
    """Pairs of entries of the legend that look the same in grey: no other dash, mark, filling, width or lightness."""
    seen = dict[str, tuple[tuple[Any, ...], float]]()
    for trace in figure.data:
        if trace.showlegend is not False and trace.name and trace.visible is not False:
            seen.setdefault(str(trace.name), _look(trace))
    names = list(seen)
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            (shape, light), (other_shape, other_light) = seen[one], seen[other]
            if shape == other_shape and abs(light - other_light) < LIGHTER:
                yield one, other


LIGHTER = 8.0
"""Of L*, 0 to 100: what can be told apart in grey print."""


def _look(trace: Any) -> tuple[tuple[Any, ...], float]:
    line: Any = getattr(trace, "line", None)
    marker: Any = getattr(trace, "marker", None)
    mode = getattr(trace, "mode", None) or trace.type
    dash = (
        (line.dash or "solid", sum((line.width or 2) > at for at in (1.2, 2.3)))
        if line is not None and "lines" in mode
        else None
    )
    symbol = (marker.symbol or "circle") if marker is not None and "markers" in mode and "symbol" in marker else None
    pattern = marker.pattern.shape if marker is not None and "pattern" in marker else None
    paint = line.color if dash and line.color else marker.color if marker is not None else None
    colour = paint if isinstance(paint, str) else getattr(trace, "fillcolor", None)
    light = float(colours.lab(colour)[0]) if colour else 0.0
    filled = getattr(trace, "fill", None) if not dash or not (line.width or 0) else None
    ring = marker.line.color if symbol and not symbol.endswith("open") and marker.line.width else None
    return (dash, symbol, ring, pattern, filled), light
