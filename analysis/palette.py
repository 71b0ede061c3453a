"""Colours: the two themes, and what colour a trial's first searched option gives it."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from plotly.colors import sample_colorscale

from analysis import words
from analysis.axes import Axis

ThemeName = Literal["light", "dark"]
_MOST_CATEGORIES = 7
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_LOG_FROM = 10.0  # a range wider than a decade is shown on a log scale


@dataclass(frozen=True)
class Theme:
    """Colours of one figure, chosen to keep a contrast of at least 3:1 between marks and paper."""

    paper: str
    ink: str
    muted: str
    grid: str
    tint: str  # of the attained region
    band: str  # of where the frontier may lie
    link: str
    bar: str
    plain: str  # of marks that no option colours
    scale: tuple[str, ...]
    categories: tuple[str, ...]  # apart for every kind of colour vision; the first four also in grey


def _viridis(low: float, high: float) -> tuple[str, ...]:
    """Viridis without the end that vanishes on the paper: orders values also for colour-blind eyes and in grey."""
    return tuple(sample_colorscale("Viridis", [low + (high - low) * i / 10 for i in range(11)]))


THEMES: dict[ThemeName, Theme] = {
    "light": Theme(
        paper="#ffffff",
        ink="#1c2430",
        muted="#66707d",
        grid="#e9ecf0",
        tint="rgba(43, 92, 143, 0.055)",
        band="rgba(168, 123, 0, 0.075)",
        link="rgba(28, 36, 48, 0.30)",
        bar="rgba(28, 36, 48, 0.42)",
        plain="#2b5c8f",
        scale=_viridis(0.0, 0.86),
        categories=("#2b5c8f", "#c97a58", "#4c2848", "#857510", "#b0385a", "#7e9490", "#743505"),
    ),
    "dark": Theme(
        paper="#14181f",
        ink="#e6e9ee",
        muted="#98a2b0",
        grid="#272e39",
        tint="rgba(120, 170, 220, 0.07)",
        band="rgba(224, 187, 79, 0.09)",
        link="rgba(230, 233, 238, 0.32)",
        bar="rgba(230, 233, 238, 0.45)",
        plain="#7fb2e5",
        scale=_viridis(0.34, 1.0),
        categories=("#7fb2e5", "#d08050", "#f8cbde", "#9f6c8b", "#d2db75", "#aaa291", "#b5e3b2"),
    ),
}


@dataclass(frozen=True)
class Colours:
    """One colour value per trial, and how it is read."""

    option: str | None  # the column that colours; None: all alike
    values: list[Any]  # colour strings, or numbers on `axis`
    axis: dict[str, Any] | None = None  # plotly's coloraxis, for numbers
    categories: dict[str, str] | None = None  # text to colour, for the legend


def colours(df: pd.DataFrame, options: list[str], theme: Theme) -> Colours:
    """Colours trials by the first option that takes two values: numbers on a scale, few categories in hues, else plain.

    Args:
        df: as `analysis.load` gives it.
        options: its option columns, in order.
        theme: where the colours come from.
    """
    texts = {name: df[name].map(words.value) for name in options}
    varied = next((name for name in options if texts[name].nunique() > 1), None)
    if varied is None:
        return Colours(None, [theme.plain] * len(df))
    if pd.api.types.is_numeric_dtype(df[varied]) and not pd.api.types.is_bool_dtype(df[varied]):
        whole = pd.api.types.is_integer_dtype(df[varied])
        return _numeric(df[varied].astype("float64"), varied, theme, whole=whole)
    known = list(dict.fromkeys(text for text in texts[varied] if text))
    if len(known) > _MOST_CATEGORIES:
        return Colours(None, [theme.plain] * len(df))
    table = dict(zip(sorted(known), theme.categories, strict=False))
    return Colours(varied, [table.get(text, theme.muted) for text in texts[varied]], categories=table)


def objective(df: pd.DataFrame, axis: Axis, theme: Theme) -> Colours:
    """Colours trials by an objective: accuracies as judged where they are, for the figure's two axes are taken."""
    values = axis.scale * df[axis.column("judged_")].fillna(df[axis.name]).astype("float64")
    if values.nunique() < 2:
        return Colours(None, [theme.plain] * len(df))
    return _numeric(values, axis.title, theme)


def _numeric(numbers: pd.Series[float], column: str, theme: Theme, *, whole: bool = False) -> Colours:
    low, high = float(numbers.min()), float(numbers.max())
    log = logarithmic(low, high)
    axis: dict[str, Any] = {
        "colorscale": [[i / (len(theme.scale) - 1), colour] for i, colour in enumerate(theme.scale)],
        "cmin": math.log10(low) if log else low,
        "cmax": math.log10(high) if log else high,
        "colorbar": {
            "title": {
                "text": html.escape(words.option_name(column), quote=False),
                "side": "right",
                "font": {"size": 12},
            },
            "tickfont": {"size": 11, "color": theme.muted},
            "thickness": 10,
            "outlinewidth": 0,
            "ticks": "outside",
            "ticklen": 4,
            "tickcolor": theme.muted,
            "len": 0.92,
            "x": 1.015,
        },
    }
    if log:
        ticks = log_ticks(low, high)
        axis["colorbar"] |= {"tickvals": [math.log10(t) for t in ticks], "ticktext": [f"{t:g}" for t in ticks]}
        values = [math.log10(n) if n == n else None for n in numbers]
    else:
        if whole:
            axis["colorbar"] |= {"tickmode": "array", "tickvals": whole_ticks(int(low), int(high))}
        values = [n if n == n else None for n in numbers]
    return Colours(column, values, axis=axis)


def whole_ticks(low: int, high: int) -> list[int]:
    """At most eight whole numbers, 1, 2 or 5 of a power of ten apart: half a layer is no layer."""
    steps = (factor * 10**power for power in range(20) for factor in (1, 2, 5))
    step = next(step for step in steps if (high - low) // step < 8)
    first = -(-low // step) * step
    return list(range(first, high + 1, step))


def logarithmic(low: float, high: float) -> bool:
    """Whether numbers in this range are drawn by their logarithms."""
    return low > 0 and high / low > _LOG_FROM


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 in every decade of the range; decades alone where that would be a crowd."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) <= 3 else (1,)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]
