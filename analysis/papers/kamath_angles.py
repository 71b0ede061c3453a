"""Accuracy under ever larger rotations of test images: the profile of each model (Kamath et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.estimates import of_share, seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, alike, measured, missing, trials
from robustray.files import from_json

_EACH = "{{name: spatial, moves: {{rotation: {}, translation: 0}}}}"
COMMAND = (
    "python -m robustray measure results/kamath2021_tradeoff/trials/0007 --measures "
    f"'{', '.join(_EACH.format(angle) for angle in (15, 30, 60, 90, 180))}'"
)
_BY = ("setting", "label", "angle")
_KEYS = ("accuracy", "fooled")


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model and largest angle: `angle` (degrees; 0: images as they are), `accuracy` (mean over draws), `fooled`
    (fooling rate), fractions, and the accuracy's standard error over images.
    """
    models = trials(folders, note)
    found = measured(models, "spatial", COMMAND)
    moves = found["settings"].map(lambda text: from_json(text)["moves"])
    found["angle"] = [float(each["rotation"]) for each in moves]
    still = pd.Series([each["translation"] == 0 for each in moves], index=found.index)
    if left := int((~still).sum()):
        note(f"{left} results with translations are left out: a profile is of rotations alone")
    found = found[still]
    if found.empty:
        raise missing(models, "spatial without translations", COMMAND)
    parts = [alike(here, note) for _, here in found.groupby("angle")]
    rows = pd.concat([*parts, parts[0].assign(angle=0.0)], ignore_index=True)
    plain, values = rows["angle"] == 0, rows["values"]
    rows["accuracy"] = [
        float(each["clean_accuracy" if at_rest else "spatial_accuracy"])
        for each, at_rest in zip(values, plain, strict=True)
    ]
    rows["fooled"] = [
        0.0 if at_rest else float(each["spatial_fooling_rate"]) for each, at_rest in zip(values, plain, strict=True)
    ]
    rows["accuracy_se"] = [of_share(p, n) for p, n in zip(rows["accuracy"], rows["images"], strict=True)]
    kept = [*OF_MODEL, "angle", *_KEYS, "accuracy_se", "split", "images", "data"]
    return rows[kept].sort_values(["sweep", "trial", "angle"], kind="stable").reset_index(drop=True)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Accuracy and fooling rate over the largest angle, a line for each setting; bars are standard errors."""
    look = palette.THEMES[theme]
    table = settings(rows, list(_KEYS), _BY)
    drawn = make_subplots(rows=1, cols=2, horizontal_spacing=0.1)
    for number, (_, here) in enumerate(table.groupby("setting", sort=False)):
        name = str(here["label"].iloc[0])
        for column, key in enumerate(_KEYS, 1):
            bars = {"error_y": marks.spread(here[f"{key}_se"], 100)}
            trace = marks.series(look, number, name, here["angle"], 100 * here[key], legend=column == 1, more=bars)
            drawn.add_trace(trace, row=1, col=column)
    angles = sorted(table["angle"].unique())
    drawn.update_xaxes(
        title_text="largest angle of test images, degrees", tickvals=angles if len(angles) <= 8 else None
    )
    drawn.update_yaxes(title_text="accuracy, mean over draws, %", row=1, col=1)
    drawn.update_yaxes(title_text="fooling rate, %", rangemode="tozero", row=1, col=2)
    marks.clear(drawn)
    return marks.with_legend(paper.styled(drawn, look, width=marks.WIDE, height=380), table["setting"].nunique())


def table(rows: pd.DataFrame) -> Sheet:
    """A row for each setting, a column for each angle."""
    found = settings(rows, ["accuracy"], _BY)
    angles = sorted(found["angle"].unique())
    wide = found[["setting", "label"]].drop_duplicates("setting").reset_index(drop=True)
    for angle in angles:
        here = found[found["angle"] == angle].set_index("setting")
        for end in ("", "_se"):
            wide[f"{angle:g}{end}"] = wide["setting"].map(here[f"accuracy{end}"])
    wide = wide.dropna(subset=[f"{angle:g}" for angle in angles]).reset_index(drop=True)
    columns = [Column("label", "training"), *(Column(f"{a:g}", f"{a:g}°", "max", percent=True) for a in angles)]
    first = rows.iloc[0]
    caption = (
        f"Accuracy in % under random rotations within each angle, {first['images']:,} {first['split']} images of "
        f"{first['data']}. {seeds(rows.drop_duplicates(['sweep', 'trial']))}"
    )
    return Sheet(wide, columns, caption)


EXHIBIT = Exhibit(
    "kamath-angles",
    "accuracy and fooling rate over the largest angle of test images",
    "Kamath et al., NeurIPS 2021, arXiv:2002.11318: profile over angles of test",
    COMMAND,
    read,
    figure,
    table,
)
