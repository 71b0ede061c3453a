"""The figure of certified radii: what part of the images stands, whatever a perturbation of that length does."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis import alone, palette, picture, style
from analysis.palette import ThemeName
from robustray.errors import UserError
from robustray.files import from_json, write_whole

_SIZE = 860, 480  # pixels
CURVES, RESULT = "curves.csv", "result.json"
_COLUMNS = ("alpha", "form", "claims", "radius", "certified_accuracy")


@dataclass(frozen=True)
class Drawn:
    """What was written."""

    page: Path
    notes: list[str]  # why there is no picture


def publish(folder: Path, *, form: str = "smoothing", formats: Sequence[str] = ("png",)) -> Drawn:
    """Writes `radii.html` and pictures of these formats beside it into a folder that `certify` wrote.

    A picture that cannot be drawn is a note, not an error, and an older one is removed.

    Raises:
        UserError: there are no curves.
    """
    df, result = read(folder)
    figure = radius_figure(df, title=caption(result), form=form)
    page = folder / "radii.html"
    write_whole(page, alone.page("Certified accuracy over the radius", figure))
    return Drawn(page, picture.beside(figure, page.with_suffix(""), _SIZE, formats))


def read(folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Curves and result of a folder that `python -m robustray certify` wrote.

    Raises:
        UserError: there are none, or they cannot be read.
    """
    try:
        df = pd.read_csv(folder / CURVES)
        result: dict[str, Any] = from_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: no certificate here (no readable {CURVES} and {RESULT}); python -m robustray certify writes one"
        ) from None
    if not set(_COLUMNS) <= set(df.columns):
        raise UserError(f"{folder / CURVES}: must have the columns {', '.join(_COLUMNS)}")
    return df, result


def caption(result: dict[str, Any]) -> str:
    """What the numbers are of, as a figure's title."""
    return (
        f"{result['name']}, {result['images']} images of {result['data']} {result['split']}, sigma "
        f"{result['sigma']:g}, {result['samples']:,} samples, confidence {100 * result['confidence']:g} %"
    )


def radius_figure(
    df: pd.DataFrame, *, title: str = "", form: str = "smoothing", theme: ThemeName = "light"
) -> go.Figure:
    """Certified accuracy over the radius, a colour per alpha: each claim at its confidence, and dashed all claims at once.

    Args:
        df: a row per radius: alpha, form, claims (image or all), radius (l2, pixels of [0, 1]), certified_accuracy.
        title: plain text over the figure; none where empty.
        form: of radius, `smoothing` or `lipschitz`.
        theme: colours, "light" or "dark".
    """
    look, figure = palette.THEMES[theme], go.Figure()
    rows = df[df["form"] == form]
    for at, alpha in enumerate(rows["alpha"].drop_duplicates()):
        colour = look.categories[at % len(look.categories)]
        for claims, dash, what in (("image", "solid", "by image"), ("all", "dash", "all at once")):
            curve = rows[(rows["alpha"] == alpha) & (rows["claims"] == claims)].sort_values("radius")
            accuracy = curve["certified_accuracy"]
            curve = curve[(accuracy > 0) | (accuracy.shift(1, fill_value=1.0) > 0)]  # once at 0 it stays there
            figure.add_scatter(
                x=curve["radius"].tolist(),
                y=(100 * curve["certified_accuracy"]).tolist(),
                mode="lines",
                line={"color": colour, "dash": dash, "width": 2, "shape": "vh"},  # known at a radius, it holds below it
                name=f"\u03b1 = {alpha:g}, {what}",
                hovertemplate="radius %{x:.3f}<br>%{y:.1f} %<extra>%{fullData.name}</extra>",
                meta={"alpha": float(alpha), "claims": claims},
            )
    figure.update_xaxes(title_text="l2 radius, pixels of [0, 1]", rangemode="tozero")
    figure.update_yaxes(title_text="certified accuracy, %", range=[0, 101])
    return style.laid_out(
        figure, look, width=_SIZE[0], height=_SIZE[1],
        title={"text": html.escape(title, quote=False), "x": 0, "xref": "paper", "font": {"size": 13}},
        margin={"l": 62, "r": 16, "t": 48 if title else 16, "b": 56},
    )  # fmt: skip
