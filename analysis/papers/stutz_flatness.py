"""Robust loss against flatness of the loss in weights, average and worst case (Stutz et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import Theme, ThemeName
from analysis.papers import marks, references
from analysis.papers.correlated import told
from analysis.papers.estimates import of_interval, seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, alike, measured, missing, trials

COMMAND = (
    "python -m robustray measure results/stutz2021_weights/trials/0007 --measures 'robust_loss, flatness, {name: flatness, "
    "case: worst}' --images 1000"
)
KEYS = {"flatness": "flatness, average case", "flatness_worst": "flatness, worst case"}


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model: `robust_loss` (mean cross-entropy at the worst images), `flatness` and `flatness_worst` (rises of
    the robust loss as weights move), with standard errors over images and over draws, `robust` (share that the same attack
    leaves right). The worst case may be missing.
    """
    models = trials(folders, note)
    loss = alike(measured(models, "robust_loss", COMMAND), note)
    rows = loss[[*OF_MODEL, "split", "images", "data", "norm", "eps"]].copy()
    rows["robust_loss"], rows["robust_loss_se"] = loss["value"].astype(float), _errors(loss)
    rows["robust"] = [float(each["correct"]) for each in loss["values"]]
    found = measured(models, "flatness", COMMAND)
    options = found["settings"].map(json.loads)
    for key, case in (("flatness", "average"), ("flatness_worst", "worst")):
        wanted = [each["case"] == case and each["of"] == "robust" and each["rescale"] == 1 for each in options]
        here = alike(found[wanted], note, split=rows["split"].iloc[0]) if any(wanted) else found.iloc[:0]
        if here.empty and case == "average":
            raise missing(models, f"flatness on {rows['split'].iloc[0]}", COMMAND)
        by = here.assign(error=_errors(here)).set_index(["sweep", "trial"])
        at = pd.MultiIndex.from_frame(rows[["sweep", "trial"]])
        rows[key] = by["value"].reindex(at).to_numpy(dtype=float)
        rows[f"{key}_se"] = by["error"].reindex(at).to_numpy(dtype=float)
    whole = rows["flatness"].notna()
    if left := int((~whole).sum()):
        note(f"{left} of {len(rows)} models are left out: flatness is not measured of them; {COMMAND}")
    return rows[whole].reset_index(drop=True)


def _errors(found: pd.DataFrame) -> list[float]:
    return [of_interval(low, high) for low, high in zip(found["low"], found["high"], strict=True)]


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Robust loss over flatness, a mark for each model, and the published models of the paper in a panel of their own."""
    look = palette.THEMES[theme]
    keys = [key for key in KEYS if rows[key].notna().any()]
    published = references.flatness()
    titles = [f"{_of(rows)}: {told(rows, key)}" for key in keys]
    titles.append(f"published: {told(published, 'flatness')}")
    drawn = make_subplots(rows=1, cols=len(keys) + 1, horizontal_spacing=0.09, subplot_titles=titles)
    groups = marks.groups(rows)
    for number, (name, here) in enumerate(groups):
        for column, key in enumerate(keys, 1):
            trace = go.Scatter(
                x=here[key].tolist(), y=here["robust_loss"].tolist(), mode="markers",
                text=here["label"].map(marks.plain).tolist(),
                name=marks.plain(name), legendgroup=str(number),
                showlegend=column == 1, marker=marks.mark(look, number) | {"size": 8}, hovertemplate="%{text}<extra></extra>",
                error_x=marks.spread(here[f"{key}_se"]), error_y=marks.spread(here["robust_loss_se"]),
            )  # fmt: skip
            drawn.add_trace(trace, row=1, col=column)
    drawn.add_trace(_published(look, published), row=1, col=len(keys) + 1)
    for column, key in enumerate([*keys, "flatness"], 1):
        drawn.update_xaxes(title_text=KEYS[key], row=1, col=column)
    drawn.update_yaxes(rangemode="tozero", title_text="robust loss, nats", title_standoff=6)
    for column in range(2, len(keys) + 1):
        drawn.update_yaxes(matches="y", title_text=None, row=1, col=column)
    marks.clear(drawn)
    styled = paper.styled(drawn, look, width=marks.WIDE, height=370)
    return marks.with_legend(styled.update_annotations(font={"size": 10.5}), len(groups) + 1)


def _published(look: Theme, published: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=published["flatness"].tolist(), y=published["robust_loss"].tolist(), mode="markers",
        text=published["model"].map(marks.plain).tolist(), hovertemplate="%{text}<extra></extra>",
        name="published, ResNet-18 on CIFAR-10, linf 8/255", meta={"kind": "published"},
        marker={"symbol": "hexagon-open", "size": 6, "color": look.muted},
    )  # fmt: skip


def _of(rows: pd.DataFrame) -> str:
    return marks.plain(rows["data"].iloc[0])


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each setting, the flattest first."""
    keys = [key for key in KEYS if rows[key].notna().any()]
    found = (
        settings(rows, ["robust", "robust_loss", *keys]).sort_values("flatness", kind="stable").reset_index(drop=True)
    )
    columns = [
        Column("label", "training"),
        Column("robust", "under PGD %", "max", percent=True),
        Column("robust_loss", "RLoss", "min", digits=2),
        *(Column(key, KEYS[key], "min", digits=3) for key in keys),
    ]
    first = rows.iloc[0]
    found_out = "; ".join(f"{KEYS[key]}: {told(rows, key)}" for key in keys)
    caption = (
        f"Robust loss ({first['norm']}, eps {first['eps']:.4g}) and how much it rises as weights move, {first['images']:,} "
        f"{first['split']} images of {first['data']}. Correlation with robust loss over models: {found_out}. {seeds(rows)}"
    )
    return Sheet(found, columns, caption)


EXHIBIT = Exhibit(
    "stutz-flatness",
    "robust loss against flatness, with correlations, beside the published models",
    "Stutz et al., ICCV 2021, arXiv:2104.04448: main table, figures of flatness",
    COMMAND,
    read,
    figure,
    table,
)
