"""Gradients of both parents and of their mixtures at the images (Bai et al. 2023: what forms of R by gradients are made of)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import bai_alpha, marks
from analysis.papers.estimates import of_interval
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import Note, alike, measured, missing, trials

COMMAND = "python -m robustray measure results/bai2023_small_bases/trials/0024 --measures input_gradients"


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each mixture and parent that is measured, as `bai_alpha` has them, with `norm` (mean length of the loss's
    gradient in the dual of the threat's norm) and its error, `alignment` (cosine between the gradients at the image and at a
    random point of the threat), `zero` (share of images without a gradient), and

        ratio = norm of the accurate parent / norm of this model
    """
    models = trials(folders, note)
    mixtures = bai_alpha.mixtures(models)
    found = alike(measured(models, "input_gradients", COMMAND), note).set_index(["sweep", "trial"])
    rows = []
    for model in mixtures.drop(columns="row").to_dict("records"):
        at = (model["sweep"], model["trial"])
        if at not in found.index:
            continue
        taken = found.loc[at]
        values = {name: taken["values"].get(name) for name in ("alignment", "zero")}
        error = of_interval(taken["low"], taken["high"])
        about = {name: taken[name] for name in ("split", "images", "data")} | {"threat": taken["norm"]}
        rows.append(model | {"norm": taken["value"], "norm_se": error} | values | about)
    if not rows:
        raise missing(models, "input_gradients of a mixture and its parents", COMMAND)
    df = pd.DataFrame(rows)
    accurate = df[df["role"] == "accurate parent"].set_index("pair")["norm"]
    df["ratio"] = df["pair"].map(accurate) / df["norm"]
    return df


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Length and alignment of gradients over alpha; bars are standard errors over images."""
    look = palette.THEMES[theme]
    drawn = make_subplots(rows=1, cols=2, horizontal_spacing=0.11)
    for number, (pair, here) in enumerate(rows.groupby("pair", sort=False)):
        name = f"{pair}: parents and mixtures"
        for column, key in enumerate(("norm", "alignment"), 1):
            bars = {"error_y": marks.spread(here["norm_se"])} if key == "norm" else {}
            trace = marks.series(look, number, name, here["alpha"], here[key], legend=column == 1, more=bars)
            drawn.add_trace(trace, row=1, col=column)
    drawn.update_xaxes(title_text="alpha, weight of the robust parent", range=[-0.03, 1.03])
    dual = {"linf": "l1", "l2": "l2", "l1": "linf"}.get(str(rows["threat"].iloc[0]), "dual")
    drawn.update_yaxes(title_text=f"{dual} length of gradients, 1/pixel", rangemode="tozero", row=1, col=1)
    drawn.update_yaxes(title_text="alignment, cosine", rangemode="tozero", row=1, col=2)
    marks.clear(drawn)
    return paper.styled(drawn, look, width=marks.WIDE, height=360)


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each model."""
    columns = [
        Column("pair", "parents"),
        Column("role", "model"),
        Column("alpha", "alpha", digits=2),
        Column("norm", "gradient", digits=3),
        Column("ratio", "accurate / this", digits=2),
        Column("alignment", "alignment", digits=2),
        Column("zero", "zero %", percent=True),
    ]
    first = rows.iloc[0]
    caption = (
        f"Gradients of the loss at {first['images']:,} {first['split']} images of {first['data']}: mean length in the dual of "
        f"{first['threat']}, with standard errors over images, and alignment inside the threat."
    )
    return Sheet(rows, columns, caption)


EXHIBIT = Exhibit(
    "bai-gradients",
    "gradients of both parents and of mixtures at the images, over alpha",
    "Bai et al., SIMODS 2024, arXiv:2301.12554: the gradients that forms of R are made of",
    COMMAND,
    read,
    figure,
    table,
)
