"""The page's tables as data: a header and rows of cells, each with its text and the value it is sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import words
from analysis.collect import options
from analysis.comparison import SHORT, Comparison
from analysis.pareto import CONFIDENCE
from analysis.standing import dominated_on_test
from sweeps.standing import SELECTION, TEST

_NAMES = {SELECTION: words.SELECTION_SET, TEST: "test"}


@dataclass(frozen=True)
class Head:
    """One column."""

    text: str
    remark: str = ""  # smaller, beneath
    numeric: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell; templates escape everything in it."""

    text: str
    remark: str = ""  # smaller, behind
    sort: float | str | None = None  # None: by the text
    mark: str = ""  # a class of the style sheet


@dataclass(frozen=True)
class Table:
    """A header and rows."""

    heads: list[Head]
    rows: list[list[Cell]] = field(default_factory=list)


def members(df: pd.DataFrame, objectives: Mapping[str, str], comparisons: Mapping[str, Comparison]) -> Table:
    """The frontier, from the most accurate to the most robust member, test results first.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        comparisons: by split, of those that have one: the probabilities of being non-dominated.
    """
    named = options(df)
    chances = {split: _chances(comparisons[split]) for split in (TEST, SELECTION) if split in comparisons}
    heads = [
        Head("trial", numeric=True),
        *_option_heads(df, named),
        Head("clean", "test, 95 % interval", numeric=True),
        Head("robust", "test, 95 % interval", numeric=True),
        Head("clean", words.SELECTION_SET, numeric=True),
        Head("robust", words.SELECTION_SET, numeric=True),
        Head("stands", "on test"),
        *([Head("stands", words.SELECTION_SET, numeric=True)] if SELECTION in chances else []),
    ]
    dominated = dominated_on_test(df, objectives)
    frame = df.assign(dominated=dominated)[df["member"]]
    frame = frame.sort_values(["judged_clean_accuracy", "trial"], ascending=[False, True])
    rows = []
    for trial in _records(frame):
        stands = "" if words.missing(trial["test_clean_accuracy"]) else "dominated" if trial["dominated"] else "yes"
        on_test, on_selection = (chances.get(split, {}).get(trial["trial"]) for split in (TEST, SELECTION))
        rows.append(
            [
                Cell(str(trial["trial"]), mark="trial"),
                *_option_cells(trial, named),
                _accuracy(trial, "test_clean_accuracy"),
                _accuracy(trial, "test_robust_accuracy"),
                _plain(trial["judged_clean_accuracy"], mark="soft"),
                _plain(trial["judged_robust_accuracy"], mark="soft"),
                Cell(
                    stands or "not read yet", words.probability(on_test), mark="hollow" if stands == "dominated" else ""
                ),
                *([Cell(words.probability(on_selection))] if SELECTION in chances else []),
            ]
        )
    return Table(heads, rows)


def neighbours(comparison: Comparison) -> Table:
    """Each frontier trial against the next more robust one: differences in points, and whether images tell them apart."""
    heads = [Head("from"), Head("to")]
    for metric in SHORT:
        heads += [
            Head(f"{metric} lost" if metric == SHORT[0] else f"{metric} gained", "points, 95 % interval", numeric=True)
        ]
        heads += [Head("p", metric, numeric=True)]
    steps = {trial["trial"]: trial for trial in _records(comparison.trials.dropna(subset="next"))}
    at = next(iter(set(steps) - {trial["next"] for trial in steps.values()}), None)  # where no other one leads
    rows = []
    while at in steps:
        trial = steps[at]
        at = trial["next"]
        cells = [Cell(str(trial["trial"]), mark="trial"), Cell(str(trial["next"]))]
        for metric, sign in zip(SHORT, (1, -1), strict=True):
            ends = sorted(sign * trial[f"{metric}_difference_{end}"] for end in ("low", "high"))
            around = " to ".join(map(words.points, ends))
            cells.append(Cell(words.points(sign * trial[f"{metric}_difference"]), remark=around))
            p = trial[f"{metric}_p"]
            cells.append(Cell(words.p_value(p), mark="strong" if p < 1 - CONFIDENCE else "soft"))
        rows.append(cells)
    return Table(heads, rows)


def seeds(comparisons: Mapping[str, Comparison]) -> Table:
    """Spread over training seeds beside the noise of images, for settings trained more than once."""
    heads = [Head("trial", numeric=True), Head("seeds", numeric=True), Head("on")]
    for metric in SHORT:
        heads += [
            Head(metric, "mean", numeric=True),
            Head("by seed", f"{metric}, sd", numeric=True),
            Head("by images", f"{metric}, se", numeric=True),
        ]
    rows = []
    for split in (TEST, SELECTION):
        for setting in _records(comparisons[split].seeds) if split in comparisons else []:
            cells = [Cell(str(setting["trial"]), mark="trial"), Cell(str(setting["seeds"])), Cell(_NAMES[split])]
            for metric in SHORT:
                cells += [
                    Cell(words.number(setting[f"{metric}_mean"])),
                    Cell(words.number(setting[f"{metric}_seeds"]), mark="strong"),
                    Cell(words.number(setting[f"{metric}_images"]), mark="soft"),
                ]
            rows.append(cells)
    return Table(heads, rows)


def trials(df: pd.DataFrame) -> Table:
    """Every trial, by number."""
    named = options(df)
    heads = [
        Head("trial", numeric=True),
        Head("status"),
        *_option_heads(df, named),
        Head("clean", words.SELECTION_SET, numeric=True),
        Head("robust", words.SELECTION_SET, numeric=True),
        Head("clean", "test", numeric=True),
        Head("robust", "test", numeric=True),
        Head("clean", words.CHEAP, numeric=True),
        Head("robust", words.CHEAP, numeric=True),
        Head("training", "device hours", numeric=True),
        Head("how it was judged, or why it ended"),
    ]
    rows = []
    for trial in _records(df):
        state = words.status(trial["status"]) + ("" if trial["feasible"] else ", infeasible")
        member, flagged = bool(trial["member"]), bool(trial["flags"])
        rows.append(
            [
                Cell(str(trial["trial"]), mark="trial"),
                Cell(
                    "on the frontier" if member else "flagged" if flagged else state,
                    mark="member" if member else "hollow" if flagged else trial["status"],
                ),
                *_option_cells(trial, named),
                _plain(trial["judged_clean_accuracy"]),
                _robust(trial),
                _plain(trial["test_clean_accuracy"]),
                _plain(trial["test_robust_accuracy"]),
                _plain(trial["clean_accuracy"], mark="soft"),
                _plain(trial["robust_accuracy"], mark="soft"),
                Cell(words.value(trial["cost_device_hours"]), sort=_key(trial["cost_device_hours"])),
                Cell(_story(trial), mark="wide"),
            ]
        )
    return Table(heads, rows)


def _story(trial: Mapping[str, Any]) -> str:
    judged = words.how_judged(trial) if trial["status"] == "complete" or trial["judging"] != "none" else ""
    flagged = f"flagged {trial['flags']}" if trial["flags"] else ""
    again = "" if words.missing(trial["replicate_of"]) else f"trial {trial['replicate_of']} with another training seed"
    return "; ".join(filter(None, [judged, flagged, again, trial["cause"] or ""]))


def _robust(trial: Mapping[str, Any]) -> Cell:
    if trial["judging"] == "skipped" and trial["skipped_after"]:
        return Cell(f"\N{LESS-THAN OR EQUAL TO} {words.number(trial['bound'])}", sort=_key(trial["bound"]), mark="soft")
    return _plain(trial["judged_robust_accuracy"])


def _accuracy(trial: Mapping[str, Any], column: str) -> Cell:
    around = words.interval(trial[f"{column}_low"], trial[f"{column}_high"])
    return Cell(words.number(trial[column]), remark=around, sort=_key(trial[column]), mark="strong")


def _chances(comparison: Comparison) -> dict[int, float]:
    return dict(zip(comparison.trials["trial"], comparison.trials["nondominated"], strict=True))


def _plain(fraction: Any, mark: str = "") -> Cell:
    return Cell(words.number(fraction), sort=_key(fraction), mark=mark)


def _option_heads(df: pd.DataFrame, named: list[str]) -> list[Head]:
    """The last word of an option's path is its head, the way there stands beneath: names are long and tables narrow."""
    paths = [words.option_name(name).rpartition(".") for name in named]
    numeric = [_numeric(df[name]) for name in named]
    return [Head(last, way, numeric=flag) for (way, _, last), flag in zip(paths, numeric, strict=True)]


def _option_cells(trial: Mapping[str, Any], named: list[str]) -> list[Cell]:
    return [Cell(words.value(trial[name]), sort=_key(trial[name]), mark="option") for name in named]


def _numeric(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _key(value: Any) -> float | str | None:
    """What a cell is sorted by: a number as it is, so that 10 follows 9 and 1e-3 precedes both; "" is always last."""
    if words.missing(value):
        return ""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _records(df: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in df.to_dict("records")]
