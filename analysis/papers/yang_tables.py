"""Accuracy, robustness, local Lipschitzness and their gaps, method by method (Yang et al. 2020, Tables 2 to 4, Appendix C)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.estimates import of_difference, of_interval, seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, alike, measured, missing, trials

COMMAND = (
    "python -m robustray measure results/yang2020_cifar10/trials/0007 --measures clean_accuracy,robust_accuracy,lipschitz "
    "--split train,validation"
)
MEASURES = {"clean_accuracy": "clean", "robust_accuracy": "robust", "lipschitz": "lipschitz"}
_SPLITS = ("train", "held_out")
_SHOWN = {"train": "training images", "held_out": "held-out images"}


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model: clean, robust and lipschitz on train and on held-out images, their standard errors, and gaps,

    gap = value on train - value on held out,   its error the root of the sum of both errors' squares
    """
    models = trials(folders, note)
    rows = models[list(OF_MODEL)].copy()
    for measure, key in MEASURES.items():
        found = measured(models, measure, COMMAND)
        for split in _SPLITS:
            here = alike(found, note, split="train" if split == "train" else None)
            if here.empty:
                raise missing(models, f"{measure} on {_SHOWN[split]}", COMMAND)
            values = here.set_index(["sweep", "trial"])
            at = pd.MultiIndex.from_frame(rows[["sweep", "trial"]])
            name = f"{key}_{split}"
            rows[name] = values["value"].reindex(at).to_numpy(dtype=float)
            errors = [of_interval(low, high) for low, high in zip(values["low"], values["high"], strict=True)]
            rows[f"{name}_se"] = pd.Series(errors, index=values.index, dtype=float).reindex(at).to_numpy()
            if key == "robust":
                first = here.iloc[0]
                rows[f"on_{split}"] = f"{first['images']:,} {first['split']} images of {first['data']}"
                rows["threat"] = f"{first['norm']}, eps {first['eps']:.4g}"
        rows[f"{key}_gap"] = rows[f"{key}_train"] - rows[f"{key}_held_out"]
        rows[f"{key}_gap_se"] = [
            of_difference(*pair)
            for pair in zip(rows[f"{key}_train_se"], rows[f"{key}_held_out_se"], strict=True)
        ]  # fmt: skip
    whole = rows[[f"{key}_{split}" for key in MEASURES.values() for split in _SPLITS]].notna().all(axis=1)
    if left := int((~whole).sum()):
        note(
            f"{left} of {len(rows)} models are left out: not all of {', '.join(MEASURES)} are measured of them; {COMMAND}"
        )
    if not whole.any():
        raise missing(models, " with ".join(MEASURES), COMMAND)
    return rows[whole].reset_index(drop=True)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Dots by method: on training images and held out, the line between them the gap; error bars are standard errors."""
    look = palette.THEMES[theme]
    panels = {"clean": "clean accuracy, %", "robust": "accuracy under PGD, %", "lipschitz": "local Lipschitz constant"}
    table = settings(rows, [f"{key}_{split}" for key in panels for split in _SPLITS])
    names = [marks.plain(name) for name in table["label"]]
    drawn = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.035)
    for column, (key, title) in enumerate(panels.items(), 1):
        times = 1 if key == "lipschitz" else 100
        ends = [(times * table[f"{key}_{split}"]).tolist() for split in _SPLITS]
        x = [each for pair in zip(*ends, [None] * len(names), strict=True) for each in pair]
        y = [each for name in names for each in (name, name, None)]
        gap = go.Scatter(
            x=x, y=y, mode="lines", line={"color": look.bar, "width": 2}, hoverinfo="skip", name="gap",
            showlegend=column == 1, legendgroup="gap", legendrank=3000,
        )  # fmt: skip
        drawn.add_trace(gap, row=1, col=column)
        for number, split in enumerate(_SPLITS):
            dots = go.Scatter(
                x=ends[number], y=names, mode="markers", name=_SHOWN[split], legendgroup=split, showlegend=column == 1,
                marker=marks.mark(look, 1 - number, hollow=split == "train") | {"size": 9},
                error_x=marks.spread(table[f"{key}_{split}_se"], times),
            )  # fmt: skip
            drawn.add_trace(dots, row=1, col=column)
        drawn.update_xaxes(title_text=title, row=1, col=column)
    drawn.update_xaxes(rangemode="tozero", row=1, col=3)
    drawn.update_yaxes(
        categoryorder="array", categoryarray=names[::-1], title_text="model", title_standoff=12, row=1, col=1
    )
    return paper.styled(drawn, look, width=marks.WIDE, height=150 + 27 * len(names))


def table(rows: pd.DataFrame) -> Sheet:
    """The columns of Tables 2 to 4."""
    keys = ["clean_train", "clean_held_out", "robust_held_out", "lipschitz_held_out", "clean_gap", "robust_gap"]
    first = rows.iloc[0]
    columns = [
        Column("label", "training"),
        Column("clean_train", "train acc. %", percent=True),
        Column("clean_held_out", "held-out acc. %", "max", percent=True),
        Column("robust_held_out", "under PGD %", "max", percent=True),
        Column("lipschitz_held_out", "Lipschitz", "min"),
        Column("clean_gap", "gap", percent=True),
        Column("robust_gap", "adv. gap", percent=True),
    ]
    caption = (
        f"Accuracy, robustness ({first['threat']}) and local Lipschitz constant of logits on {first['on_held_out']}, and gaps "
        f"from {first['on_train']}. {seeds(rows)}"
    )
    return Sheet(settings(rows, keys), columns, caption)


EXHIBIT = Exhibit(
    "yang-tables",
    "accuracy, robustness and Lipschitz constant of each training, on training and held-out images, and gaps",
    "Yang et al., NeurIPS 2020, arXiv:2003.02460: Tables 2 to 4, Appendix C",
    COMMAND,
    read,
    figure,
    table,
)
