"""Frontiers of TRADES with one divergence and another over beta (Pang et al. 2022: KL against squared l2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.accuracies import by_one_protocol
from analysis.papers.estimates import seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.labels import DIVERGENCES
from analysis.papers.latex import Column, Sheet
from analysis.papers.references import accuracies as published
from analysis.papers.sources import OF_MODEL, Note, conditions, part, trials
from robustray.errors import UserError

COMMAND = (
    "python run_sweep.py search_spaces/papers/pang2022_preact.yaml --set 'trial.defense={choice: [{name: trades, beta: "
    "{choice: [1, 2, 4, 6, 8, 10]}}, {name: score, beta: {choice: [1, 2, 4, 6, 8, 10]}}]}' --set search.sampler=grid "
    "--set search.points=3 --set judge.trials=all"
)
_BY = ("setting", "label", "divergence", "beta")
_PUBLISHED = "Pang et al. 2022"


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model that was trained by TRADES or SCORE: `divergence`, `beta`, clean and robust accuracy."""
    models = trials(folders, note)
    found = models["config"].map(_of)
    here = models[found.notna()]
    if here.empty:
        sweeps = " and ".join(dict.fromkeys(models["sweep"]))
        raise UserError(f"{sweeps}: no trial was trained by trades or score; such a sweep: {COMMAND}")
    rows = pd.concat([here[list(OF_MODEL)], by_one_protocol(here, note)], axis=1)
    rows["divergence"], rows["beta"] = ([each[at] for each in found[found.notna()]] for at in (0, 1))
    rows["conditions"] = conditions(here["config"].iloc[0])
    return rows.reset_index(drop=True)


def _of(config: object) -> tuple[str, float] | None:
    """Divergence and beta of a trial's options; None where it has neither."""
    defense = part(config, "defense") if isinstance(config, dict) else {}
    if defense.get("name") not in ("trades", "score") or not isinstance(defense.get("beta"), int | float):
        return None
    return str(defense.get("divergence", "kl")) if defense["name"] == "score" else "kl", float(defense["beta"])


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Robust over clean accuracy, and robust accuracy over beta, a line for each divergence; bars are standard errors."""
    look = palette.THEMES[theme]
    table = settings(rows, ["clean", "robust"], _BY)
    drawn = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    for at, (divergence, part_) in enumerate(table.groupby("divergence", sort=False)):
        here = part_.groupby("beta", sort=True)[["clean", "robust", "clean_se", "robust_se"]].mean().reset_index()
        name = DIVERGENCES.get(str(divergence), str(divergence))
        bars = {"error_y": marks.spread(here["robust_se"], 100)}
        wide = {
            "error_x": marks.spread(here["clean_se"], 100), "text": [f"{beta:g}" for beta in here["beta"]],
            "textposition": "top left" if at % 2 else "bottom right", "textfont": {"size": 10, "color": look.muted},
        }  # fmt: skip
        x, y = 100 * here["clean"], 100 * here["robust"]
        plane = marks.series(look, at, name, x, y, more={**bars, **wide}).update(mode="lines+markers+text")
        drawn.add_trace(plane, row=1, col=1)
        drawn.add_trace(marks.series(look, at, name, here["beta"], y, legend=False, more=bars), row=1, col=2)
    beside = published(_PUBLISHED, str(rows["conditions"].iloc[0]))
    if not beside.empty:
        drawn.add_trace(marks.reference(look, beside), row=1, col=1)
    drawn.update_xaxes(title_text="clean accuracy, % (beta beside marks)", row=1, col=1)
    drawn.update_xaxes(title_text="beta, weight of the divergence", type="log", row=1, col=2)
    _ticks(drawn, table["beta"])
    drawn.update_yaxes(title_text="robust accuracy, %", row=1, col=1)
    marks.clear(drawn)
    return paper.styled(drawn, look, width=marks.WIDE, height=380)


def _ticks(drawn: go.Figure, betas: pd.Series[float]) -> None:
    values = sorted(set(betas))
    if len(values) <= 8:
        drawn.update_xaxes(tickvals=values, ticktext=[f"{value:g}" for value in values], row=1, col=2)


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each divergence and beta."""
    found = settings(rows, ["clean", "robust"], _BY).sort_values(["divergence", "beta"], kind="stable")
    found["divergence"] = found["divergence"].map(lambda name: DIVERGENCES.get(name, name))
    columns = [
        Column("divergence", "divergence"),
        Column("beta", "beta", digits=2),
        Column("clean", "clean %", "max", percent=True),
        Column("robust", "robust %", "max", percent=True),
    ]
    caption = f"TRADES with one divergence and another ({rows['protocol'].iloc[0]}). {seeds(rows)}"
    return Sheet(found.reset_index(drop=True), columns, caption)


EXHIBIT = Exhibit(
    "pang-divergences",
    "frontiers of KL and of squared l2 over beta",
    "Pang et al., ICML 2022, arXiv:2202.10103: KL against squared l2",
    COMMAND,
    read,
    figure,
    table,
)
