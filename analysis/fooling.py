"""Fooling rates from predictions that were kept: how often an answer changes, whatever the truth, and how often it matters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from analysis import words
from analysis.paired import mcnemar
from analysis.pareto import wilson
from analysis.printed import plain_table
from robustray.errors import UserError
from robustray.files import json_mapping

ABOUT, RESULT, IMAGES = "measure.json", "result.json", "images.csv"
COLUMNS = ("predicted", "predicted_attacked")
_IDENTITY = {"data": "data", "split": "split", "rows": "images"}
"""What two measurements of the same images share in `measure.json`, in words."""


@dataclass(frozen=True)
class Kept:
    """Predictions as a measurement's folder holds them: a row per image with its row in the split, its label, its classes."""

    rows: pd.DataFrame
    model: str
    identity: dict[str, Any]


def read(folder: Path) -> Kept:
    """The predictions in the folder of a measurement.

    Raises:
        UserError: there are none.
    """
    try:
        identity = json_mapping(folder / ABOUT)
        said = json_mapping(folder / RESULT)
        rows = pd.read_csv(folder / IMAGES)
        kept = Kept(rows, str(said["name"]), {key: identity[key] for key in _IDENTITY})
    except (OSError, ValueError, KeyError):
        raise UserError(
            f"{folder}: no measurement of images here (no readable {ABOUT}, {RESULT} and {IMAGES}); python -m robustray "
            "measure MODEL --save-predictions writes one"
        ) from None
    if not {"image", "label", COLUMNS[0]} <= set(rows.columns):
        raise UserError(f"{folder / IMAGES}: holds no predictions; the measure {said['measure']} keeps none")
    return kept


def fooling(folder: Path, other: Path | None = None, *, perturbed: bool = False) -> pd.DataFrame:
    """How the answers of one measurement differ from those of another on the same images (Kamath et al., NeurIPS 2021,
    arXiv:2002.11318), or of one as they are and under its attack. With f(i) and g(i) the classes of image i, y(i) its label,

        changed         share of images with f(i) != g(i), with Wilson's interval `low`, `high`: the fooling rate of predictions
                        against predictions, which knows no truth and is the same both ways
        error_a, error_b    shares with f(i) != y(i), g(i) != y(i)
        right_to_wrong  share, of the images that f has right, that g has wrong: the fooling rate against labels
        wrong_to_right  share, of the images that f has wrong, that g has right
        p               McNemar's, that both are equally accurate

    So changed <= error_a + error_b, and |error_b - error_a| <= changed. A rate of none is nan.

    An answer with a NaN, -1, is never right and always changed.

    Args:
        folder, other: of measurements that hold predictions. Each of their columns is met with each of the other's.
        perturbed: the images of one are perturbed copies of the other's, turned ones say: other data, the same rows and labels.

    Returns:
        A row for each pair: `a`, `b` (model and column), `images`, and the numbers above, fractions.

    Raises:
        UserError: there are no predictions, or the images are not the same.
    """
    a = read(folder)
    if other is None:
        if COLUMNS[1] not in a.rows:
            raise UserError(f"{folder}: holds predictions of images as they are alone; name a second folder to compare")
        return pd.DataFrame([_pair(a, a, *COLUMNS)])
    b = read(other)
    _same(a, b, folder, other, perturbed=perturbed)
    pairs = [(x, y) for x in COLUMNS for y in COLUMNS if x in a.rows and y in b.rows]
    return pd.DataFrame([_pair(a, b, x, y) for x, y in pairs])


def _same(a: Kept, b: Kept, folder: Path, other: Path, *, perturbed: bool) -> None:
    differ = [what for key, what in _IDENTITY.items() if a.identity[key] != b.identity[key]]
    if perturbed:
        differ = []
    if not differ and not a.rows[["image", "label"]].equals(b.rows[["image", "label"]]):
        differ = ["rows or labels of images"]
    if differ:
        remedy = "" if perturbed or differ != ["data"] else " (--perturbed where one's images are perturbed copies)"
        raise UserError(f"{folder} and {other}: are not of the same images: other {' and '.join(differ)}{remedy}")


def _pair(a: Kept, b: Kept, x: str, y: str) -> dict[str, Any]:
    f, g, truth = a.rows[x].to_numpy(), b.rows[y].to_numpy(), a.rows["label"].to_numpy()
    changed, right, right_b = (f != g) | (f < 0), f == truth, g == truth
    low, high = wilson(int(changed.sum()), len(f))
    nan = float("nan")
    return {
        "a": f"{a.model} {x}", "b": f"{b.model} {y}", "images": len(f),
        "changed": float(changed.mean()), "low": float(low), "high": float(high),
        "error_a": float((~right).mean()), "error_b": float((~right_b).mean()),
        "right_to_wrong": float((~right_b[right]).mean()) if right.any() else nan,
        "wrong_to_right": float(right_b[~right].mean()) if (~right).any() else nan,
        "p": mcnemar(right, right_b),
    }  # fmt: skip


def printed(found: pd.DataFrame) -> Group:
    """A table for a terminal."""
    table = plain_table("", "", "changed", "error a", "error b", "right to wrong", "wrong to right", "p")
    for _, row in found.iterrows():
        table.add_row(
            row["a"].replace("_", " "),
            row["b"].replace("_", " "),
            f"{words.number(row['changed'])}  {words.interval(row['low'], row['high'])}",
            *(words.number(row[name]) for name in ("error_a", "error_b", "right_to_wrong", "wrong_to_right")),
            words.p_value(row["p"]),
        )
    images = words.count(int(found["images"].iloc[0]), "image")
    return Group(table, Text(f"{images}; in percent, 95 % intervals; right to wrong of those that a has right"))
