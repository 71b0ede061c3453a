"""What the frontier figure shows, as data: where each trial stands, as what, and what it says when pointed at."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import axes, words
from analysis.axes import RANK, USUAL, Axis
from analysis.collect import options
from analysis.pareto import frontier
from analysis.standing import dominated_on_test, judged_frontier, settings
from robustray.judging.flags import MEANING
from robustray.measures.metrics import ACCURACIES, METRICS

Stage = Literal["members", "judging", "cheap"]
_CAUSE = 90  # characters of a cause, or of a line, that fit a hover label
_COLUMNS = ["row", "trial", "setting", "derived", "kind", "x", "y", "hover"]


def stage(df: pd.DataFrame) -> Stage:
    """How far the sweep is: members fixed, some trials judged, or nothing judged yet."""
    if df["member"].any():
        return "members"
    return "judging" if (df["judging"] == "full").any() else "cheap"


def cut(df: pd.DataFrame) -> bool:
    """Whether the judging of every complete trial has ended before its last attack: each misses a constraint at best."""
    return set(df.loc[df["status"] == "complete", "judging"]) == {"skipped"}


def leaders(df: pd.DataFrame, objectives: Mapping[str, str] = USUAL) -> set[int]:
    """Trials on the frontier: its members, or before they are fixed those that would be by the best numbers so far."""
    now = stage(df)
    if now == "members":
        return set(df.loc[df["member"], "trial"])
    return judged_frontier(df, objectives) if now == "judging" else set(frontier(df, objectives)["trial"])


def selection_points(df: pd.DataFrame, objectives: Mapping[str, str] = USUAL) -> pd.DataFrame:
    """A row per trial that has numbers on the selection set to draw.

    Returns:
        Columns `row` (position in `df`), `trial`, `setting` (which other seeds share), `derived` (whether it was made without
        training), `kind`, `x` and `y` (values of the two axes, as `axes.plane` has them; accuracies in percent) and `hover`
        (plotly's markup, everything in it escaped). Kinds:
        `leader`, `judged`, `flagged`,
        `bound`, `cheap`, `infeasible`, `stopped`, `diverged`, `failed`, `paused`, `running`.
    """
    leading, named, setting = leaders(df, objectives), options(df), settings(df).tolist()
    plane = axes.plane(objectives)
    rows: list[list[Any]] = []
    for position, trial in enumerate(records(df)):
        x, y = (place(trial, axis) for axis in plane)
        if not (np.isnan(x) or np.isnan(y)):
            kind, label = _kind(trial, leading), hover(trial, named, objectives)
            rows.append([position, trial["trial"], setting[position], _derived(trial), kind, x, y, label])
    found = pd.DataFrame(rows, columns=_COLUMNS)
    if plane[0].name == RANK:
        found["x"] = (-plane[1].sign * found["y"]).rank(method="min")
    return found


def points_on_test(df: pd.DataFrame, objectives: Mapping[str, str] = USUAL) -> pd.DataFrame:
    """A row per member whose test result is read, kinds `test` and `test_dominated`.

    One that was flagged after it had been fixed as a member is `test_flagged`. What is not measured on test, such as a cost,
    is where it is on the selection set, and so is a rank. None where no axis is an accuracy.

    Returns:
        The columns of `selection_points`, and `x_low`, `x_high`, `y_low`, `y_high`: the 95 % intervals.
    """
    dominated, named, setting = dominated_on_test(df, objectives).tolist(), options(df), settings(df).tolist()
    plane, rows = axes.plane(objectives), list[list[Any]]()
    chosen: Mapping[Any, float] = (
        dict(selection_points(df, objectives)[["trial", "x"]].to_numpy().tolist()) if plane[0].name == RANK else {}
    )
    for position, trial in enumerate(records(df)):
        unread = np.isnan(trial["test_clean_accuracy"]) or not (trial["member"] or trial["flags"])
        if unread or not any(axis.judged for axis in plane):
            continue
        kind = "test_flagged" if trial["flags"] else "test_dominated" if dominated[position] else "test"
        label = hover(trial, named, objectives, dominated=dominated[position])
        (x, x_low, x_high), (y, y_low, y_high) = (
            [chosen[trial["trial"]]] * 3 if axis.name == RANK else _on_test(trial, axis) for axis in plane
        )
        place = [position, trial["trial"], setting[position], _derived(trial), kind]
        rows.append([*place, x, y, label, x_low, x_high, y_low, y_high])
    return pd.DataFrame(rows, columns=[*_COLUMNS, "x_low", "x_high", "y_low", "y_high"])


def staircase(points: pd.DataFrame, plane: tuple[Axis, Axis] = axes.plane(USUAL)) -> tuple[list[float], list[float]]:
    """Corners of the attained frontier through points `x`, `y`, from the best in y to the best in x.

    Between two neighbours the better y ends where the first one's x does, so the line goes to the worse y first and then on
    along x. Points another one dominates in this plane (there may be a third objective) lie inside.

    Args:
        points: columns `x` and `y`.
        plane: the axes, which say what is better; by default both accuracies.
    """
    modes = {name: axis.mode for name, axis in zip("xy", plane, strict=True)}
    standing = frontier(points, modes).drop_duplicates(["x", "y"]).sort_values("x", ascending=plane[0].sign > 0)
    xs, ys = standing["x"].tolist(), standing["y"].tolist()
    corners_x, corners_y = xs[:1], ys[:1]
    for (x_before, x), y in zip(pairwise(xs), ys[1:], strict=True):
        corners_x += [x_before, x]
        corners_y += [y, y]
    return corners_x, corners_y


def band(
    compared: pd.DataFrame,
    leading: set[int],
    plane: tuple[Axis, Axis] = axes.plane(USUAL),
    *,
    left: float = 0.0,
    bottom: float = 0.0,
) -> tuple[list[float], list[float]]:
    """Outline, in units of the axes, of where the frontier of these models lies on the whole population of images, at 95 %.

    The accuracies of all models lie in their parts of the simultaneous band together, and so do means over seeds in the
    means of their parts. What is attained then reaches at least the staircase of the low ends, and at most that of the
    high ones: the outline runs along the second and back along the first. Empty where there are no models.

    Args:
        compared: as `analysis.compare` gives it, with the values of an axis that is no accuracy; they have no noise.
        leading: the trials whose frontier it is.
        plane: the axes.
        left, bottom: the worst x and y, where both staircases begin and end, or further out where the worst ends are.
    """
    rows = compared[compared["trial"].isin(leading)]
    if rows.empty or not any(axis.judged for axis in plane):
        return [], []
    rows = rows.groupby("setting").mean(numeric_only=True)
    ends = {
        end: pd.DataFrame({at: _end(rows, axis, end) for at, axis in zip("xy", plane, strict=True)})
        for end in ("high", "low")
    }
    left, bottom = (
        axis.sign * min(axis.sign * worst, (axis.sign * ends["low"][at]).min())
        for at, axis, worst in zip("xy", plane, (left, bottom), strict=True)
    )
    outline_x, outline_y = [], []
    for end, way in (("high", 1), ("low", -1)):
        xs, ys = staircase(ends[end], plane)
        outline_x += [left, *xs, xs[-1]][::way]
        outline_y += [ys[0], *ys, bottom][::way]
    return outline_x, outline_y


def _end(rows: pd.DataFrame, axis: Axis, end: str) -> pd.Series[float]:
    """One end of the simultaneous band along an axis; accuracies, which alone have one, are better when larger."""
    worse = {"high": "low", "low": "high"}
    found = f"{axis.name}_band_{end if axis.sign > 0 else worse[end]}" if axis.judged else axis.name
    return axis.scale * rows[found]


def hover(
    trial: Mapping[str, Any],
    option_columns: list[str],
    objectives: Mapping[str, str] = USUAL,
    *,
    dominated: bool = False,
) -> str:
    """Everything about one trial in a few lines of plotly's markup; names and strings of the sweep are escaped."""
    state = words.status(trial["status"]) + ("" if trial["feasible"] else ", misses a constraint")
    lines = [f"<b>{'point' if _derived(trial) else 'trial'} {trial['trial']}</b>  {_safe(state)}"]
    lines += [f"{_safe(words.made(trial))}, without training"] if _derived(trial) else []
    lines += [
        f"{_safe(words.option_name(name))} = <b>{_safe(words.value(trial[name]))}</b>"
        for name in option_columns
        if not words.missing(trial[name])
    ]
    if not words.missing(trial["replicate_of"]):
        lines.append(f"trial {trial['replicate_of']} with another training seed")
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
    costs = [axes.printed(name, trial[name]) for name in objectives if name not in ACCURACIES]
    if any(costs):
        lines.append(f"  {', '.join(filter(None, costs))}")
    if not words.missing(trial["test_clean_accuracy"]):
        lines.append(f"<i>test</i>: {words.count(trial['test_images'], 'image')}, read once")
        lines.append("  " + _pair(trial, "test_"))
    if dominated:
        lines.append("  another member dominates it on test")
    for flag in filter(None, trial["flags"].split(", ")):
        first, *more = textwrap.wrap(f"{flag}: {MEANING.get(flag, '')}", _CAUSE)
        lines += [f"<b>flagged</b> {_safe(first)}", *(f"  {_safe(line)}" for line in more)]
    lines += [_safe(line) for line in words.misses(trial).split("; ") if line]
    if trial["cause"]:
        lines.append(_safe(trial["cause"]))
    return "<br>".join(lines)


def records(df: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, values by column."""
    return [{str(name): value for name, value in row.items()} for row in df.to_dict("records")]


def place(trial: Mapping[str, Any], axis: Axis) -> float:
    """Where a trial stands along an axis: the strongest number known of it. A rank is known when all are placed: 0."""
    if axis.name == RANK:
        return 0.0
    column = axis.name
    if trial["judging"] == "full":
        column = axis.column("judged_")
    elif trial["judging"] == "skipped" and trial["skipped_after"]:
        column = "bound" if axis.name == "robust_accuracy" else axis.column("judged_")
    return axis.scale * float(trial[column])


def _on_test(trial: Mapping[str, Any], axis: Axis) -> list[float]:
    """A value with the low and the high end of its interval; what is not measured on test has none."""
    ends = [axis.column("test_") + end for end in ("", "_low", "_high")] if axis.judged else [axis.name] * 3
    return [axis.scale * float(trial[end]) for end in ends]


def _kind(trial: Mapping[str, Any], leading: set[int]) -> str:
    if trial["trial"] in leading:
        return "leader"
    if trial["flags"]:
        return "flagged"
    if trial["status"] != "complete":
        return "failed" if trial["status"] == "out_of_memory" else str(trial["status"])
    if not trial["feasible"]:
        return "infeasible"
    return {"full": "judged", "skipped": "bound"}.get(trial["judging"], "cheap")


def _derived(trial: Mapping[str, Any]) -> bool:
    return not words.missing(trial["derived"])


def _pair(trial: Mapping[str, Any], prefix: str) -> str:
    parts = []
    for name in ACCURACIES:
        around = words.interval(trial[f"{prefix}{name}_low"], trial[f"{prefix}{name}_high"])
        parts.append(f"{words.percent(trial[prefix + name])} {METRICS[name].short} [{around}]")
    return ", ".join(parts)


def _safe(text: str) -> str:
    """One line of plain text for plotly, which reads tags and the three entities but no quoted ones."""
    line = " ".join(text.split())
    return html.escape(line if len(line) <= _CAUSE else line[: _CAUSE - 1] + "\N{HORIZONTAL ELLIPSIS}", quote=False)
