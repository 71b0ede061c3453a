"""Adversarial robustness as rotations grow, spatial robustness as eps grows, and CuSP (Kamath et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import Theme, ThemeName
from analysis.papers import marks
from analysis.papers.estimates import seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, part, trials
from robustray.errors import UserError

COMMAND = "python run_sweep.py search_spaces/papers/kamath2021_tradeoff.yaml"
METRICS = {
    "clean_accuracy": "clean",
    "robust_accuracy": "robust",
    "spatial_accuracy": "spatial",
    "adversarial_fooling_rate": "fooled",
    "spatial_fooling_rate": "turned",
}
CURVES = {"rotations": "larger rotations", "eps": "larger eps", "both": "CuSP"}


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model: `curve` (rotations: trained at eps 0; eps: without rotations; both), `rotation` (largest angle of
    the last stage, degrees), `eps` (of the last stage, pixels of [0, 1]); clean, robust (cheap attack) and spatial accuracy,
    `fooled` and `turned` (fooling rates under the attack and under rotations), fractions on the images of training's end.
    """
    models = trials(folders, note)
    models = models[models["config"].map(bool)]
    without = [name for name in METRICS if models[name].isna().all()] if set(METRICS) <= set(models) else list(METRICS)
    if without:
        sweeps = " and ".join(dict.fromkeys(models["sweep"]))
        raise UserError(
            f"{sweeps}: {' and '.join(without)} were not measured; judge.spatial in the space measures them, as in: {COMMAND}"
        )
    rows = models[list(OF_MODEL)].assign(**{key: models[name] for name, key in METRICS.items()})
    rows[["curve", "rotation", "eps"]] = [stage(config) for config in models["config"]]
    judge = models["config"].map(lambda config: part(part(config, "judge"), "spatial"))
    rows["within"] = [float(moves.get("rotation", float("nan"))) for moves in judge]
    rows["attacked"] = [
        float(part(part(config, "judge"), "threat").get("eps", float("nan"))) for config in models["config"]
    ]
    rows = rows[rows["curve"] != ""].reset_index(drop=True)
    if rows["curve"].nunique() < 2:
        raise UserError(
            f"{folders[0]}: must hold at least two of rotations at eps 0, eps without rotations, both: {COMMAND}"
        )
    return rows


def stage(config: Mapping[str, Any]) -> tuple[str, float, float]:
    """Which curve a trial's options belong to, and rotation and eps of its last stage; "" where it is of none.

    Without a curriculum a trial has no rotations and its whole eps. Training without rotations and at eps 0 begins the curve of
    rotations.
    """
    curriculum, full = part(config, "curriculum"), float(part(config, "threat").get("eps", 0) or 0)
    if curriculum.get("name") == "cusp":
        rotations, scales = curriculum.get("rotations") or [0], curriculum.get("eps_scales") or [1]
        return "both", float(rotations[-1]), float(scales[-1]) * full
    stages = curriculum.get("stages")
    if curriculum and not isinstance(stages, list):
        return "", 0.0, 0.0
    last = stages[-1] if stages else {}
    rotation, eps = float(last.get("rotation") or 0), float(last.get("eps_scale", 1)) * full
    return ("eps" if rotation == 0 and eps > 0 else "rotations" if eps == 0 else "both"), rotation, eps


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Fooling rates along both curves with CuSP beside them, and robust over spatial accuracy; bars are standard errors."""
    look = palette.THEMES[theme]
    table = settings(rows, list(METRICS.values()), ("setting", "label", "curve", "rotation", "eps"))
    titles = ["larger rotations in training", "larger eps in training", "beyond both curves?"]
    drawn = make_subplots(rows=1, cols=3, horizontal_spacing=0.1, subplot_titles=titles)
    plain = table[(table["curve"] == "rotations") & (table["rotation"] == 0)]
    both = table[table["curve"] == "both"]
    for column, (curve, x, key, title) in enumerate(
        (("rotations", "rotation", "fooled", "PGD"), ("eps", "eps", "turned", "rotation")), 1
    ):
        here = table[table["curve"] == curve]
        here = (pd.concat([plain, here]) if curve == "eps" else here).sort_values(x)
        _beside(drawn, look, both, x, key, column)
        drawn.update_yaxes(
            title_text=f"fooled under {title}, %", rangemode="tozero", row=1, col=column, title_standoff=4
        )
        if here.empty:
            continue
        number = column - 1
        bars = {"error_y": marks.spread(here[f"{key}_se"], 100)}
        trace = marks.series(look, number, CURVES[curve], here[x], 100 * here[key], more=bars)
        drawn.add_trace(trace, row=1, col=column)
    drawn.update_xaxes(title_text="largest angle, degrees", row=1, col=1)
    drawn.update_xaxes(title_text="eps, pixels of [0, 1]", row=1, col=2)
    for number, (curve, name) in enumerate(CURVES.items()):
        here = table[table["curve"] == curve].sort_values(["rotation", "eps"])
        here = pd.concat([plain, here]) if curve == "eps" else here
        if here.empty:
            continue
        bars = {"error_x": marks.spread(here["spatial_se"], 100), "error_y": marks.spread(here["robust_se"], 100)}
        trace = marks.series(look, number, name, 100 * here["spatial"], 100 * here["robust"], legend=False, more=bars)
        drawn.add_trace(trace.update(mode="markers" if curve == "both" else "lines+markers"), row=1, col=3)
    drawn.update_xaxes(title_text="accuracy under rotation, %", row=1, col=3)
    drawn.update_yaxes(title_text="accuracy under PGD, %", row=1, col=3, title_standoff=4)
    marks.clear(drawn)
    return paper.styled(drawn, look, width=marks.WIDE, height=350).update_layout(margin={"t": 84})


def _beside(drawn: go.Figure, look: Theme, both: pd.DataFrame, x: str, key: str, column: int) -> None:
    """CuSP where its last stage lies."""
    if both.empty:
        return
    trace = go.Scatter(
        x=both[x].tolist(), y=(100 * both[key]).tolist(), mode="markers", name=CURVES["both"],
        legendgroup=CURVES["both"], legendrank=2000,
        showlegend=column == 1, marker=marks.mark(look, 2) | {"size": 9}, error_y=marks.spread(both[f"{key}_se"], 100),
    )  # fmt: skip
    drawn.add_trace(trace, row=1, col=column)


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each setting."""
    found = settings(rows, list(METRICS.values()), ("setting", "label", "curve", "rotation", "eps"))
    found = found.sort_values(["curve", "rotation", "eps"], ascending=[False, True, True], kind="stable")
    found["curve"] = found["curve"].map(CURVES)
    columns = [
        Column("curve", "training"),
        Column("rotation", "angle", digits=0),
        Column("eps", "eps", digits=3),
        Column("clean", "clean %", "max", percent=True),
        Column("robust", "PGD %", "max", percent=True),
        Column("spatial", "rotation %", "max", percent=True),
        Column("fooled", "fooled, PGD %", "min", percent=True),
        Column("turned", "fooled, rotation %", "min", percent=True),
    ]
    first = rows.iloc[0]
    caption = (
        f"Accuracies and fooling rates under PGD at eps {first['attacked']:.4g} and under rotations within {first['within']:g} "
        f"degrees, on validation images. {seeds(rows)}"
    )
    return Sheet(found.reset_index(drop=True), columns, caption)


EXHIBIT = Exhibit(
    "kamath-curves",
    "fooling rates as rotations and eps of training grow, and CuSP",
    "Kamath et al., NeurIPS 2021, arXiv:2002.11318: all curves",
    COMMAND,
    read,
    figure,
    table,
)
