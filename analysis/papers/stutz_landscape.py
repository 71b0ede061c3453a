"""The robust loss along lines through the weights (Stutz et al. 2021)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.estimates import of_interval, seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, alike, measured, missing, table, trials

COMMAND = (
    "python -m robustray measure results/stutz2021_losses/trials/0007 --measures 'landscape, {name: landscape, direction: "
    "adversarial}' --images 128"
)
_TITLES = {"random": "random directions", "adversarial": "worst directions", "hessian": "directions of the Hessian"}


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model, kind of direction and place: `direction`, `s` (-1 to 1), `mean`, `least`, `most` (loss over lines,
    nats), and of the whole line `rise` (mean rise at its ends) with its error over directions, and `curvature` at 0.
    """
    models = trials(folders, note)
    found = measured(models, "landscape", COMMAND)
    options = found["settings"].map(json.loads)
    found["direction"] = [str(each["direction"]) for each in options]
    found["of"], found["length"] = [str(each["of"]) for each in options], [each["length"] for each in options]
    lines = found[[each["dimensions"] == 1 and each["of"] == "robust" for each in options]]
    if lines.empty:
        raise missing(models, "landscape along lines, of robust loss,", COMMAND)
    parts = []
    for _, here in lines.groupby("direction", sort=False):
        for row in alike(here, note).to_dict("records"):
            curve = table(row["at"], "curve", ("s", "mean", "least", "most"))
            about = {key: row[key] for key in (*OF_MODEL, "direction", "split", "images", "data")}
            rise = {"rise": row["value"], "rise_se": of_interval(row["low"], row["high"])}
            parts.append(curve.assign(**about, **rise, curvature=row["values"].get("curvature")))
    return pd.concat(parts, ignore_index=True)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """A panel for each kind of direction, a line for each setting, bands from the least to the most over directions."""
    look = palette.THEMES[theme]
    kinds = [kind for kind in _TITLES if kind in set(rows["direction"])]
    titles = [_TITLES[kind] for kind in kinds]
    drawn = make_subplots(rows=1, cols=len(kinds), horizontal_spacing=0.1, subplot_titles=titles)
    order = list(dict.fromkeys(rows["setting"]))
    for column, kind in enumerate(kinds, 1):
        here = rows[rows["direction"] == kind]
        means = here.groupby(["setting", "label", "s"], sort=False)[["mean", "least", "most"]].mean().reset_index()
        for setting, curve in means.groupby("setting", sort=False):
            number, line = order.index(setting), curve.sort_values("s")
            back = line.iloc[::-1]
            drawn.add_trace(go.Scatter(
                x=[*line["s"], *back["s"]], y=[*line["most"], *back["least"]], mode="lines", fill="toself", hoverinfo="skip",
                fillcolor=look.categories[number % len(look.categories)], opacity=0.16, line={"width": 0}, showlegend=False,
                legendgroup=str(setting),
            ), row=1, col=column)  # fmt: skip
            drawn.add_trace(go.Scatter(
                x=line["s"].tolist(), y=line["mean"].tolist(), mode="lines", name=marks.plain(line["label"].iloc[0]),
                line=marks.line(look, number) | {"width": 2}, legendgroup=str(setting), showlegend=column == 1,
            ), row=1, col=column)  # fmt: skip
    drawn.update_xaxes(title_text="s, in lengths of the move")
    drawn.update_yaxes(title_text="robust loss, nats", rangemode="tozero")
    return marks.with_legend(paper.styled(drawn, look, width=marks.WIDE, height=370), len(order))


def sheet(rows: pd.DataFrame) -> Sheet:
    """Mean rise at the ends and curvature, by setting and kind of direction."""
    once = rows.drop_duplicates(["sweep", "trial", "direction"])
    found = settings(once, ["rise", "curvature"], ("setting", "label", "direction"))
    columns = [
        Column("label", "training"),
        Column("direction", "direction"),
        Column("rise", "mean rise", digits=3),
        Column("curvature", "curvature", digits=3),
    ]
    first = rows.iloc[0]
    caption = (
        f"The robust loss along lines through the weights: its mean rise at their ends and its second difference at 0, "
        f"{first['images']:,} {first['split']} images of {first['data']}. "
        f"{seeds(once.drop_duplicates(['sweep', 'trial']), bold=False)}"
    )
    return Sheet(found, columns, caption)


EXHIBIT = Exhibit(
    "stutz-landscape",
    "the robust loss along lines through the weights",
    "Stutz et al., ICCV 2021, arXiv:2104.04448: figures of landscapes",
    COMMAND,
    read,
    figure,
    sheet,
)
