"""What the frontier figure shows, as data: where each trial stands, as what, and what it says when pointed at."""

from __future__ import annotations

import html
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import words
from analysis.collect import dominated_on_test, objectives_judged, options
from analysis.pareto import frontier

ACCURACIES: Mapping[str, str] = {"clean_accuracy": "max", "robust_accuracy": "max"}
Stage = Literal["members", "judging", "cheap"]
_CAUSE = 90  # characters of a cause that fit a hover label
_COLUMNS = ["row", "trial", "kind", "x", "y", "hover"]


def stage(df: pd.DataFrame) -> Stage:
    """How far the sweep is: members fixed, some trials judged, or nothing judged yet."""
    if df["member"].any():
        return "members"
    return "judging" if (df["judging"] == "full").any() else "cheap"


def leaders(df: pd.DataFrame, objectives: Mapping[str, str] = ACCURACIES) -> set[int]:
    """Trials on the frontier: its members, or before they are fixed those that would be by the best numbers so far."""
    now = stage(df)
    if now == "members":
        return set(df.loc[df["member"], "trial"])
    return set(frontier(df, objectives_judged(objectives) if now == "judging" else objectives)["trial"])


def selection_points(df: pd.DataFrame, objectives: Mapping[str, str] = ACCURACIES) -> pd.DataFrame:
    """A row per trial that has numbers on the selection set to draw.

    Returns:
        Columns `row` (position in `df`), `trial`, `kind`, `x` and `y` (clean and robust accuracy in percent) and
        `hover` (plotly's markup, everything in it escaped). Kinds: `leader`, `judged`, `bound`, `cheap`, `infeasible`,
        `stopped`, `diverged`, `failed`, `running`.
    """
    leading, named = leaders(df, objectives), options(df)
    rows = []
    for position, trial in enumerate(_rows(df)):
        x, y = _place(trial)
        if not (np.isnan(x) or np.isnan(y)):
            rows.append([position, trial["trial"], _kind(trial, leading), 100 * x, 100 * y, hover(trial, named)])
    return pd.DataFrame(rows, columns=_COLUMNS)


def points_on_test(df: pd.DataFrame, objectives: Mapping[str, str] = ACCURACIES) -> pd.DataFrame:
    """A row per member whose test result is read, in percent, kinds `test` and `test_dominated`.

    Returns:
        The columns of `selection_points`, and `x_low`, `x_high`, `y_low`, `y_high`: the 95 % intervals.
    """
    dominated, named = dominated_on_test(df, objectives).tolist(), options(df)
    rows = []
    for position, trial in enumerate(_rows(df)):
        if not trial["member"] or np.isnan(trial["test_clean_accuracy"]):
            continue
        kind = "test_dominated" if dominated[position] else "test"
        said = hover(trial, named, dominated=dominated[position])
        x, x_low, x_high = (100 * trial[f"test_clean_accuracy{end}"] for end in ("", "_low", "_high"))
        y, y_low, y_high = (100 * trial[f"test_robust_accuracy{end}"] for end in ("", "_low", "_high"))
        rows.append([position, trial["trial"], kind, x, y, said, x_low, x_high, y_low, y_high])
    return pd.DataFrame(rows, columns=[*_COLUMNS, "x_low", "x_high", "y_low", "y_high"])


def staircase(points: pd.DataFrame) -> tuple[list[float], list[float]]:
    """Corners of the attained frontier through points `x`, `y`, from the most robust to the most accurate.

    Between two neighbours the better robust accuracy ends where the first one's clean accuracy does, so the line falls
    first and then runs right. Points another one dominates in this plane (there may be a third objective) lie inside.
    """
    standing = frontier(points, {"x": "max", "y": "max"}).drop_duplicates(["x", "y"]).sort_values("x")
    xs, ys = standing["x"].tolist(), standing["y"].tolist()
    corners_x, corners_y = xs[:1], ys[:1]
    for (x_before, x), y in zip(pairwise(xs), ys[1:], strict=True):
        corners_x += [x_before, x]
        corners_y += [y, y]
    return corners_x, corners_y


def hover(trial: Mapping[str, Any], option_columns: list[str], *, dominated: bool = False) -> str:
    """Everything about one trial in a few lines of plotly's markup; names and strings of the sweep are escaped."""
    state = words.status(trial["status"]) + ("" if trial["feasible"] else ", misses a constraint")
    lines = [f"<b>trial {trial['trial']}</b>  {_safe(state)}"]
    lines += [
        f"{_safe(words.option_name(name))} = <b>{_safe(words.value(trial[name]))}</b>"
        for name in option_columns
        if not words.missing(trial[name])
    ]
    lines.append("")
    lines.append(f"<i>{words.SELECTION_SET}</i>: {_safe(words.how_judged(trial))}")
    if trial["judging"] == "full":
        lines.append("  " + _pair(trial, "judged_"))
    elif trial["judging"] == "skipped" and trial["skipped_after"]:
        images = words.count(trial["judged_images"], "validation image")
        lines.append(f"  robust at most {words.percent(trial['bound'])} of {images}")
    if not words.missing(trial["clean_accuracy"]):
        cheap = f"{words.percent(trial['clean_accuracy'])} clean, {words.percent(trial['robust_accuracy'])} robust"
        lines.append(f"  {words.CHEAP}: {cheap}")
    if not words.missing(trial["test_clean_accuracy"]):
        lines.append(f"<i>test</i>: {words.count(trial['test_images'], 'image')}, read once")
        lines.append("  " + _pair(trial, "test_"))
    if dominated:
        lines.append("  another member dominates it on test")
    if trial["cause"]:
        lines.append(_safe(trial["cause"]))
    return "<br>".join(lines)


def _rows(df: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in df.to_dict("records")]


def _place(trial: Mapping[str, Any]) -> tuple[float, float]:
    """Where a trial stands, as fractions: the strongest numbers known of it."""
    if trial["judging"] == "full":
        return float(trial["judged_clean_accuracy"]), float(trial["judged_robust_accuracy"])
    if trial["judging"] == "skipped" and trial["skipped_after"]:
        return float(trial["judged_clean_accuracy"]), float(trial["bound"])
    return float(trial["clean_accuracy"]), float(trial["robust_accuracy"])


def _kind(trial: Mapping[str, Any], leading: set[int]) -> str:
    if trial["trial"] in leading:
        return "leader"
    if trial["status"] != "complete":
        return "failed" if trial["status"] == "out_of_memory" else str(trial["status"])
    if not trial["feasible"]:
        return "infeasible"
    return {"full": "judged", "skipped": "bound"}.get(trial["judging"], "cheap")


def _pair(trial: Mapping[str, Any], prefix: str) -> str:
    parts = [
        f"{words.percent(trial[column])} {name} [{words.interval(trial[f'{column}_low'], trial[f'{column}_high'])}]"
        for name, column in (("clean", f"{prefix}clean_accuracy"), ("robust", f"{prefix}robust_accuracy"))
    ]
    return ", ".join(parts)


def _safe(text: str) -> str:
    """One line of plain text for plotly, which reads tags and the three entities but no quoted ones."""
    line = " ".join(text.split())
    return html.escape(line if len(line) <= _CAUSE else line[: _CAUSE - 1] + "\N{HORIZONTAL ELLIPSIS}", quote=False)
