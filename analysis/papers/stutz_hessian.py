"""Eigenvalues of the Hessian against robust loss, and what scaling of weights does to them (Stutz et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.correlated import told
from analysis.papers.estimates import seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, alike, measured, missing, trials
from robustray.files import from_json

COMMAND = (
    "python -m robustray measure results/stutz2021_losses/trials/0007 --measures 'robust_loss, {name: hessian, k: 4}, {name: "
    "hessian, k: 4, rescale: 2}' --images 500"
)


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model and scale of weights: `rescale`, `largest`, `smallest` (eigenvalues), `convexity`
    (|smallest| / |largest|), and `robust_loss` (nats).
    """
    models = trials(folders, note)
    found = measured(models, "hessian", COMMAND)
    found["rescale"] = [float(from_json(text)["rescale"]) for text in found["settings"]]
    parts = [alike(here, note) for _, here in found.groupby("rescale")]
    rows = pd.concat(parts, ignore_index=True)
    if not (rows["rescale"] == 1).any():
        raise missing(models, "hessian at the weights as they are", COMMAND)
    loss = alike(measured(models, "robust_loss", COMMAND), note).set_index(["sweep", "trial"])["value"]
    rows["robust_loss"] = loss.reindex(pd.MultiIndex.from_frame(rows[["sweep", "trial"]])).to_numpy(dtype=float)
    rows["largest"] = rows["value"].astype(float)
    for key in ("smallest", "convexity"):
        rows[key] = [float("nan") if each.get(key) is None else float(each[key]) for each in rows["values"]]
    kept = [*OF_MODEL, "rescale", "largest", "smallest", "convexity", "robust_loss", "split", "images", "data"]
    return rows[kept].sort_values(["sweep", "trial", "rescale"], kind="stable").reset_index(drop=True)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Robust loss over the largest eigenvalue and over convexity, at the weights as they are and as they were scaled."""
    look = palette.THEMES[theme]
    plain = rows[rows["rescale"] == 1]
    panels = {"largest": "largest eigenvalue", "convexity": "convexity, |smallest| / |largest|"}
    titles = [told(plain, key) for key in panels]
    drawn = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=titles)
    for column, (key, title) in enumerate(panels.items(), 1):
        for (number, (name, group)), scale in product(enumerate(marks.groups(rows)), sorted(rows["rescale"].unique())):
            here = group[group["rescale"] == scale]
            name = marks.plain(name) + ("" if scale == 1 else f", weights times {scale:g}")
            trace = go.Scatter(
                x=here[key].tolist(), y=here["robust_loss"].tolist(), mode="markers", name=name, legendgroup=name,
                showlegend=column == 1, marker=marks.mark(look, number, hollow=scale != 1) | {"size": 8},
                text=here["label"].map(marks.plain).tolist(), hovertemplate="%{text}<extra></extra>",
            )  # fmt: skip
            drawn.add_trace(trace, row=1, col=column)
        drawn.update_xaxes(title_text=title, type="log", row=1, col=column)
    drawn.update_yaxes(title_text="robust loss, nats", row=1, col=1)
    marks.clear(drawn)
    entries = len(marks.groups(rows)) * rows["rescale"].nunique()
    return marks.with_legend(paper.styled(drawn, look, width=marks.WIDE, height=370), entries)


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each setting and scale of weights."""
    keys = ["largest", "smallest", "convexity", "robust_loss"]
    found = settings(rows, keys, ("setting", "label", "rescale"))
    columns = [
        Column("label", "training"),
        Column("rescale", "weights times", digits=1),
        Column("largest", "largest"),
        Column("smallest", "smallest"),
        Column("convexity", "convexity", digits=3),
        Column("robust_loss", "RLoss", digits=2),
    ]
    first = rows.iloc[0]
    caption = (
        f"Largest and smallest eigenvalue of the clean loss's Hessian, {first['images']:,} {first['split']} images of "
        f"{first['data']}. Weights in front of batch norm times s are the same function, and have eigenvalues 1/s² as large. "
        f"{seeds(rows[rows['rescale'] == 1], bold=False)}"
    )
    return Sheet(found, columns, caption)


EXHIBIT = Exhibit(
    "stutz-hessian",
    "eigenvalues of the Hessian against robust loss, and as weights are scaled",
    "Stutz et al., ICCV 2021, arXiv:2104.04448: tables of the Hessian and of scaling",
    COMMAND,
    read,
    figure,
    table,
)
