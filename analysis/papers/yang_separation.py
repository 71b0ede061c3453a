"""How far apart classes are, beside random labels (Yang et al. 2020, Table 1 and Appendix D)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import Note, measured, table, trials
from robustray.files import from_json

COMMAND = (
    "python -m robustray measure results/yang2020_cifar10/trials/0007 --measures separation --split train,validation"
)
_TOLD = ("least", "mean", "median")


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each bin of each data set and split: `from` and `to` (distance in the threat's norm), `images`, `random_labels`
    (counts), and what belongs to the whole histogram: `least`, `mean`, `median`, those of random labels, `two_eps`.
    """
    models = trials(folders, note)
    found = measured(models, "separation", COMMAND)
    found = found.drop_duplicates(["data", "split", "rows", "norm", "eps", "settings"])
    parts = []
    for row in found.sort_values(["data", "split"], kind="stable").to_dict("records"):
        bins = table(row["at"], "histogram", ("from", "to", "images", "random_labels"))
        told = {name: row["values"].get(name) for name in ("mean", "median", "two_eps")} | {"least": row["value"]}
        control = {f"random_{name}": row["values"].get(f"random_labels_{name}") for name in _TOLD}
        about = {"data": row["data"], "split": row["split"], "norm": row["norm"], "of": row["images"]}
        seed = from_json(row["settings"])["seed"]
        parts.append(bins.assign(**about, **told, **control, seed=seed))
    return pd.concat(parts, ignore_index=True)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Shares of images by distance to the nearest training image of another class, of classes and of random labels."""
    look = palette.THEMES[theme]
    panels = list(rows.groupby(["data", "split", "norm", "two_eps", "seed"], sort=False))
    wide = min(2, len(panels))
    tall = -(-len(panels) // wide)
    titles = [f"{marks.plain(data)}, {split} to train" for (data, split, *_), _ in panels]
    drawn = make_subplots(
        rows=tall, cols=wide, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.05,
        vertical_spacing=0.3 / tall,
    )  # fmt: skip
    for at, (key, bins) in enumerate(panels):
        row, column = at // wide + 1, at % wide + 1
        for number, (counted, title) in enumerate((("images", "classes"), ("random_labels", "random labels"))):
            bars = go.Bar(
                x=((bins["from"] + bins["to"]) / 2).tolist(), y=(100 * bins[counted] / bins[counted].sum()).tolist(),
                width=(bins["to"] - bins["from"]).tolist(), name=title, legendgroup=title, showlegend=at == 0,
                opacity=0.75, marker={"color": look.categories[number], "pattern": {"shape": ("", "/")[number]}},
            )  # fmt: skip
            drawn.add_trace(bars, row=row, col=column)
        drawn.add_vline(
            x=key[3], line={"color": look.ink, "dash": "dash", "width": 1.5}, row=row, col=column,
            annotation={"text": "2 eps", "yanchor": "top", "y": 0.98, "xanchor": "right", "xshift": -2},
        )  # fmt: skip
        drawn.update_xaxes(title_text=f"{key[2]} distance, pixels of [0, 1]", row=row, col=column)
        if column == 1:
            drawn.update_yaxes(title_text="images, %", row=row, col=1)
    drawn.update_layout(barmode="overlay", bargap=0)
    return paper.styled(drawn, look, width=marks.WIDE, height=100 + 250 * tall)


def sheet(rows: pd.DataFrame) -> Sheet:
    """The columns of Table 1, and the control."""
    heads = rows.drop_duplicates(["data", "split", "norm", "two_eps", "seed"]).reset_index(drop=True)
    heads["pair"] = heads["split"] + "--train"
    heads["separated"] = [
        "yes" if least >= twice else "no" for least, twice in zip(heads["least"], heads["two_eps"], strict=True)
    ]
    columns = [
        Column("data", "data"),
        Column("pair", "images"),
        Column("of", "n", digits=0),
        Column("two_eps", "2 eps", digits=3),
        Column("least", "least", digits=3),
        Column("mean", "mean", digits=3),
        Column("random_least", "least, random labels", digits=3),
        Column("random_mean", "mean, random labels", digits=3),
        Column("separated", "separated"),
    ]
    caption = (
        f"Distances in {heads['norm'].iloc[0]} to the nearest training image of another class, pixels of [0, 1], and with "
        "labels drawn at random. Where the least is at least 2 eps some classifier is right everywhere within eps."
    )
    return Sheet(heads, columns, caption)


EXHIBIT = Exhibit(
    "yang-separation",
    "distances between classes, and between random labels, against 2 eps",
    "Yang et al., NeurIPS 2020, arXiv:2003.02460: Table 1, Appendix D",
    COMMAND,
    read,
    figure,
    sheet,
)
