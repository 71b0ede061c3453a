"""Robust overfitting over the epochs, and what stopping early is worth (Stutz et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analysis import curve, palette, paper
from analysis.palette import ThemeName
from analysis.papers import marks
from analysis.papers.estimates import of_share, seeds, settings
from analysis.papers.exhibit import Exhibit
from analysis.papers.latex import Column, Sheet
from analysis.papers.sources import OF_MODEL, Note, missing, trials

COMMAND = (
    "python -m robustray measure results/stutz2021_losses/trials/0007 --measures robust_loss --epochs all --split "
    "train,validation"
)
_MEASURE = "robust_loss"
_KEYS = ("loss", "error")


def read(folders: Sequence[Path], note: Note) -> pd.DataFrame:
    """A row for each model, split and epoch of its kept snapshots: `split`, `epoch`, `loss` (robust loss, nats), `error` (share
    of images that the same attack leaves wrong).
    """
    models = trials(folders, note)
    parts = []
    for model in models.to_dict("records"):
        homes = sorted(Path(model["home"]).glob(f"measures/epochs-*-{_MEASURE}-*/{curve.ABOUT}"))
        by_split: dict[str, curve.Curve] = {}
        for home in homes:
            for each in curve.read(home.parent):
                known = by_split.get(each.about["split"])
                if known is None or len(each.rows) > len(known.rows):
                    by_split[each.about["split"]] = each
        for split, each in by_split.items():
            if "correct" not in each.rows:
                raise missing(models, f"{_MEASURE} over epochs with its share of correct answers", COMMAND)
            rows = each.rows[["epoch"]].assign(loss=each.rows["value"], error=1 - each.rows["correct"], split=split)
            about = {"images": each.about["images"], "data": each.about["data"]}
            parts.append(rows.assign(**{key: model[key] for key in OF_MODEL}, **about))
    held_out = [part for part in parts if part["split"].iloc[0] != "train"]
    if not held_out:
        raise missing(models, f"{_MEASURE} over epochs on held-out images", COMMAND)
    return pd.concat(parts, ignore_index=True)


def stopped(rows: pd.DataFrame) -> pd.DataFrame:
    """A row for each model: on held-out images robust error and loss at the last epoch, and at the epoch of the least error,

    gain = last error - least error       (never below 0: the epoch is chosen on the images that it is told of)
    """
    found = []
    for _, here in rows[rows["split"] != "train"].groupby(["sweep", "trial"], sort=False):
        by_epoch = here.sort_values("epoch").reset_index(drop=True)
        best, last = by_epoch.iloc[int(by_epoch["error"].to_numpy().argmin())], by_epoch.iloc[-1]
        told = {
            "last": last["error"],
            "best": best["error"],
            "epoch": int(best["epoch"]),
            "gain": last["error"] - best["error"],
        }
        losses = {"last_loss": last["loss"], "best_loss": best["loss"]}
        losses |= {f"{key}_se": of_share(told[key], float(last["images"])) for key in ("last", "best")}
        found.append({key: last[key] for key in OF_MODEL} | told | losses)
    return pd.DataFrame(found)


def figure(rows: pd.DataFrame, *, theme: ThemeName = "light") -> go.Figure:
    """Robust loss and robust error over epochs: training images thin and hollow, a ring where error is least."""
    look = palette.THEMES[theme]
    table = rows.groupby(["setting", "label", "split", "epoch"], sort=False)[list(_KEYS)].mean().reset_index()
    drawn = make_subplots(rows=1, cols=2, horizontal_spacing=0.1)
    order = list(dict.fromkeys(table["setting"]))
    for (setting, split), here in table.groupby(["setting", "split"], sort=False):
        number, line, train = order.index(setting), here.sort_values("epoch"), split == "train"
        name = f"{line['label'].iloc[0]}, {split}"
        for column, (key, times) in enumerate((("loss", 1), ("error", 100)), 1):
            trace = marks.series(look, number, name, line["epoch"], times * line[key], legend=column == 1)
            if train:
                trace.update(marker=marks.mark(look, number, hollow=True) | {"size": 5}, line={"width": 1})
            drawn.add_trace(trace, row=1, col=column)
        if not train:
            at = line.iloc[int(line["error"].to_numpy().argmin())]
            for column, y in ((1, at["loss"]), (2, 100 * at["error"])):
                ring = {"symbol": "circle-open", "size": 15, "color": look.ink, "line": {"width": 1.6}}
                drawn.add_trace(go.Scatter(
                    x=[at["epoch"]], y=[y], mode="markers", name="least held-out error", marker=ring, legendgroup="ring",
                    legendrank=2000,
                    showlegend=column == 1 and number == 0,
                ), row=1, col=column)  # fmt: skip
    drawn.update_xaxes(title_text="epoch")
    drawn.update_yaxes(title_text="robust loss, nats", rangemode="tozero", row=1, col=1)
    drawn.update_yaxes(title_text="robust error, %", rangemode="tozero", row=1, col=2)
    marks.clear(drawn)
    entries = table.drop_duplicates(["setting", "split"]).shape[0] + 1
    return marks.with_legend(paper.styled(drawn, look, width=marks.WIDE, height=380), entries)


def table(rows: pd.DataFrame) -> Sheet:
    """The columns RErr and RErr (early stopping) of the main table."""
    found = settings(stopped(rows), ["last", "best", "gain", "epoch", "last_loss", "best_loss"])
    columns = [
        Column("label", "training"),
        Column("last", "RErr, last %", "min", percent=True),
        Column("best", "RErr, early %", "min", percent=True),
        Column("gain", "gain", percent=True),
        Column("epoch", "epoch", digits=0),
        Column("last_loss", "RLoss, last", "min", digits=2),
        Column("best_loss", "RLoss, early", "min", digits=2),
    ]
    first = rows[rows["split"] != "train"].iloc[0]
    caption = (
        f"Robust error and loss at the last epoch and at the epoch of the least error, {first['images']:,} {first['split']} "
        f"images of {first['data']}; the epoch is chosen on the same images, so no gain is below 0. {seeds(stopped(rows))}"
    )
    return Sheet(found, columns, caption)


EXHIBIT = Exhibit(
    "stutz-early-stopping",
    "robust loss and error over epochs, and what the best epoch gains over the last",
    "Stutz et al., ICCV 2021, arXiv:2104.04448: figures of robust overfitting, column of early stopping",
    COMMAND,
    read,
    figure,
    table,
)
