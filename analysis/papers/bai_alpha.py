"""Clean and robust accuracy of mixtures over alpha (Bai et al. 2023)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper, words
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.accuracies import by_one_protocol
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.references import accuracies as published
from analysis.papers.sources import Note, conditions, trials
from robustray.errors import UserError

COMMAND = (
    "python -m sweeps derive results/bai2023_small_bases '{name: smoothing, parents: [cleanest, most_robust], alpha: "
    "[0.5, 0.7, 0.8, 0.9]}'"
)
_ALPHA = re.compile(r"smoothing, alpha ([0-9.eE+-]+)")
_PUBLISHED = "Bai et al. 2023"
_APART = 0.12
"""Of the width and height of a panel: labels nearer than that are not read."""


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each mixture with a constant alpha and for both its parents, at alpha 0 (accurate) and 1 (robust): `pair`,
    `alpha`, `role`, `trial`, clean and robust accuracy with their standard errors over images.
    """
    models = trials(folders, note)
    found = mixtures(models)
    numbers = by_one_protocol(models.iloc[found["row"].to_numpy()].reset_index(drop=True), note)
    rows = pd.concat([found.reset_index(drop=True), numbers], axis=1)
    first = models.loc[models["config"].map(bool), "config"]
    return rows.drop(columns="row").assign(conditions=conditions(first.iloc[0] if len(first) else {}))


def mixtures(models: pd.DataFrame) -> pd.DataFrame:
    """Mixtures of two trials by a constant alpha, and those two: `pair` (`3 and 5`, of one sweep), `alpha`, `role`, `sweep`,
    `trial`, `row` (its place among `models`), sorted by pair and alpha.

    Raises:
        UserError: there is none of which both parents are trials of the sweep.
    """
    by_number = {key: at for at, key in enumerate(zip(models["sweep"], models["trial"], strict=True))}
    rows: dict[tuple[str, str, float], dict[str, object]] = {}
    for at, model in enumerate(models.to_dict("records")):
        said = None if words.missing(model["derived"]) else _ALPHA.fullmatch(str(model["derived"]))
        parents = [word.strip() for word in str(model["parents"]).split(",")]
        if said is None or len(parents) != 2 or not all(word.isdigit() for word in parents):
            continue
        numbers = [int(word) for word in parents]
        if not all((model["sweep"], number) in by_number for number in numbers):
            continue
        several = models["sweep"].nunique() > 1
        pair = f"{model['sweep']}: {' and '.join(parents)}" if several else " and ".join(parents)
        ends = (("accurate parent", 0.0, numbers[0]), ("robust parent", 1.0, numbers[1]))
        for role, alpha, number in (*ends, ("mixture", float(said[1]), int(model["trial"]))):
            row = at if role == "mixture" else by_number[(model["sweep"], number)]
            known = {"pair": pair, "alpha": alpha, "role": role, "sweep": model["sweep"], "trial": number, "row": row}
            rows.setdefault((pair, role, alpha), known)
    if not rows:
        sweeps = " and ".join(dict.fromkeys(models["sweep"]))
        raise UserError(
            f"{sweeps}: no mixture of two trials with a constant alpha; python -m sweeps derive makes some: {COMMAND}"
        )
    return pd.DataFrame(rows.values()).sort_values(["pair", "alpha"], kind="stable")


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Both accuracies over alpha, and robust over clean accuracy along alpha; bars, of the first, are standard errors."""
    look = palette.THEMES[theme]
    drawn = make_subplots(rows=1, cols=2, horizontal_spacing=0.11)
    pairs = list(rows.groupby("pair", sort=False))
    for at, (pair, here) in enumerate(pairs):
        of = f", {pair}" if len(pairs) > 1 else ""
        for number, key in enumerate(("clean", "robust")):
            bars = {"error_y": marks.spread(here[f"{key}_se"], 100)}
            drawn.add_trace(
                marks.series(look, 2 * at + number, key + of, here["alpha"], 100 * here[key], more=bars), row=1, col=1
            )
        name = f"mixtures of {pair}" if len(pairs) > 1 else "mixtures, by alpha"
        sides = ["bottom left" if alpha == 0 else "top right" for alpha in here["alpha"]]
        named = {"text": _named(here), "textposition": sides, "textfont": {"size": 10, "color": look.muted}}
        way = marks.series(look, 2 * at + 2, name, 100 * here["clean"], 100 * here["robust"], more=named)
        drawn.add_trace(way.update(mode="lines+markers+text"), row=1, col=2)
    beside = published(_PUBLISHED, str(rows["conditions"].iloc[0]))
    if not beside.empty:
        drawn.add_trace(marks.reference(look, beside), row=1, col=2)
    drawn.update_xaxes(title_text="alpha, weight of the robust parent", range=[-0.03, 1.03], row=1, col=1)
    drawn.update_yaxes(title_text="accuracy, %", rangemode="tozero", row=1, col=1)
    drawn.update_xaxes(title_text="clean accuracy, %", row=1, col=2)
    drawn.update_yaxes(title_text="robust accuracy, %", row=1, col=2)
    marks.clear(drawn)
    return paper.styled(drawn, look, width=marks.WIDE, height=380)


def _named(here: pd.DataFrame) -> list[str]:
    """Alpha beside each mark that is far enough from the last one that has it; both ends always."""
    clean, robust = here["clean"].to_numpy(dtype=float), here["robust"].to_numpy(dtype=float)
    wide, tall = max(float(np.ptp(clean)), 1e-9), max(float(np.ptp(robust)), 1e-9)
    ends, last, found = {0.0: "0 (accurate)", 1.0: "1 (robust)"}, None, []
    for at, alpha in enumerate(here["alpha"]):
        far = last is None or math.hypot((clean[at] - clean[last]) / wide, (robust[at] - robust[last]) / tall) > _APART
        shown = alpha in ends or (
            far and math.hypot((clean[at] - clean[-1]) / wide, (robust[at] - robust[-1]) / tall) > _APART
        )
        found.append(ends.get(alpha, f"{alpha:g}") if shown else "")
        last = at if shown else last
    return found


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each alpha. Nothing is bold: it is a trade."""
    columns = [
        Column("pair", "parents"),
        Column("role", "model"),
        Column("alpha", "alpha", digits=2),
        Column("clean", "clean %", percent=True),
        Column("robust", "robust %", percent=True),
    ]
    caption = f"Mixtures of two trials by alpha ({rows['protocol'].iloc[0]}). Standard errors are over images."
    return Sheet(rows, columns, caption)


EXHIBIT = Exhibit(
    "bai-alpha",
    "clean and robust accuracy of mixtures over alpha",
    "Bai et al., SIMODS 2024, arXiv:2301.12554: accuracy by alpha, the clean-robust curve",
    COMMAND,
    read,
    figure,
    table,
)
