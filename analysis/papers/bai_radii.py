"""Certified accuracy of mixtures over the radius (Bai et al. 2023), from what `python -m robustray certify` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import certified, palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.estimates import of_share
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import Note
from robustray.errors import UserError

COMMAND = "python -m robustray certify results/bai2023_small_bases/trials/0024 --sigma 0.25 --alpha 0.67,0.76,1"
_FORM = "smoothing"
_AT = 5
"""Radii in the table, at equal distances from 0."""


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each radius: `name`, `sigma`, `images`, `alpha`, `claims` (image or all), `radius` (l2, pixels of [0, 1]),
    `certified_accuracy`, `samples`, `confidence`.

    Raises:
        UserError: a folder holds no certificate, nor do folders inside it or below its trials.
    """
    homes = [home for folder in folders for home in _homes(folder)]
    parts = []
    for home in homes:
        curves, result = certified.read(home)
        about = {key: result[key] for key in ("name", "sigma", "images", "data", "split", "samples", "confidence")}
        name = str(about["name"])
        about["name"] = f"trial {int(name)}" if name.isdigit() else name
        parts.append(curves[curves["form"] == _FORM].assign(**about))
    return pd.concat(parts, ignore_index=True)


def _homes(folder: Path) -> list[Path]:
    if (folder / certified.CURVES).is_file():
        return [folder]
    found = [
        path.parent for where in ("*", "trials/*/certificates/*") for path in folder.glob(f"{where}/{certified.CURVES}")
    ]
    if not found:
        raise UserError(f"{folder}: no certificate here, nor below its trials; {COMMAND}")
    return sorted(found)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """A panel for each certified model and sigma, a line for each alpha: every claim at its confidence, thin all at once."""
    look = palette.THEMES[theme]
    panels = list(rows.groupby(["name", "sigma"], sort=False))
    wide = min(2, len(panels))
    tall = -(-len(panels) // wide)
    titles = [f"{marks.plain(name)}, sigma {sigma:g}" for (name, sigma), _ in panels]
    drawn = make_subplots(
        rows=tall, cols=wide, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.05, vertical_spacing=0.3 / tall
    )  # fmt: skip
    alphas, seen = sorted(rows["alpha"].unique()), set[str]()
    for at, (_, panel) in enumerate(panels):
        place = {"row": at // wide + 1, "col": at % wide + 1}
        for (alpha, claims), curve in panel.groupby(["alpha", "claims"], sort=False):
            number, thin, here = alphas.index(alpha), claims == "all", curve.sort_values("radius")
            name = "thin: all claims at once" if thin else f"alpha {alpha:g}"
            shape = {"shape": "vh", "width": 0.9 if thin else 1.8}  # known at a radius, it holds below it
            trace = go.Scatter(
                x=here["radius"].tolist(), y=(100 * here["certified_accuracy"]).tolist(), mode="lines", name=name,
                legendgroup=name, showlegend=name not in seen, line=marks.line(look, number) | shape,
                legendrank=2000 if thin else 1000,
            )  # fmt: skip
            seen.add(name)
            drawn.add_trace(trace, **place)
        drawn.update_xaxes(title_text="l2 radius, pixels of [0, 1]", rangemode="tozero", **place)
        if place["col"] == 1:
            drawn.update_yaxes(title_text="certified accuracy, %", range=[0, 100], **place)
    return paper.styled(drawn, look, width=marks.WIDE, height=120 + 280 * tall)


def table(rows: pd.DataFrame) -> Sheet:
    """Certified accuracy at radii from 0, each claim at its confidence: of a staircase that holds below each known radius."""
    here = rows[rows["claims"] == "image"]
    most = (
        float(here.loc[here["certified_accuracy"] > 0, "radius"].max())
        if (here["certified_accuracy"] > 0).any()
        else 0.0
    )
    step = _round(most / _AT) if most else 0.25
    radii = [step * at for at in range(_AT + 1)]
    found = []
    for (name, sigma, alpha), curve in here.groupby(["name", "sigma", "alpha"], sort=False):
        row: dict[str, object] = {"name": str(name), "sigma": sigma, "alpha": alpha}
        for radius in radii:
            share = at_radius(curve, radius)
            row |= {f"at {radius:g}": share, f"at {radius:g}_se": of_share(share, float(curve["images"].iloc[0]))}
        found.append(row)
    columns = [Column("name", "model"), Column("sigma", "sigma", digits=2), Column("alpha", "alpha", digits=2)]
    columns += [Column(f"at {radius:g}", f"r = {radius:g}", percent=True) for radius in radii]
    first = rows.iloc[0]
    caption = (
        f"Certified accuracy in % at l2 radii r (pixels of [0, 1]) of {first['images']:,} {first['split']} images of "
        f"{first['data']}, {first['samples']:,} noisy copies each, every claim with confidence "
        f"{100 * first['confidence']:g} %. Standard errors are over images."
    )
    return Sheet(pd.DataFrame(found), columns, caption)


def at_radius(curve: pd.DataFrame, radius: float) -> float:
    """The certified accuracy at a radius: what is known at the next radius that is no smaller; 0 beyond the last."""
    beyond = curve[curve["radius"] >= radius - 1e-12].sort_values("radius")
    return float(beyond["certified_accuracy"].iloc[0]) if len(beyond) else 0.0


def _round(step: float) -> float:
    """1, 2 or 5 of a power of ten, no smaller than a step."""
    power = 10.0 ** np.floor(np.log10(step))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step - 1e-12))


EXHIBIT = Exhibit(
    "bai-radii",
    "certified accuracy over the l2 radius, by alpha",
    "Bai et al., SIMODS 2024, arXiv:2301.12554: certified accuracy by radius",
    COMMAND,
    read,
    figure,
    table,
    folders="what certify wrote, or sweeps whose trials are certified",
)
