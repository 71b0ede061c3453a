"""The page's tables as data: a header and rows of cells, each with its text and the value it is sorted by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import axes, measured, points, words
from analysis.collect import options
from analysis.comparison import SHORT, Comparison
from analysis.pareto import CONFIDENCE
from analysis.standing import dominated_on_test, settings
from robustray.measures.metrics import ACCURACIES, COSTS, METRICS, in_order, is_share
from robustray.verdicts import CLEAN
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
    """The frontier, from the best member in the first objective to the worst, test results first and options last.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        comparisons: by split, of those that have one: the probabilities of being non-dominated.
    """
    named = options(df)
    chances = {split: _chances(comparisons[split]) for split in (TEST, SELECTION) if split in comparisons}
    heads = [
        Head("trial", numeric=True),
        *_made_heads(df),
        Head("clean", "test, %, 95 % interval", numeric=True),
        Head("robust", "test, %, 95 % interval", numeric=True),
        *_cost_heads(objectives),
        Head("on test"),
        *(Head("P(not dominated)", _NAMES[split], numeric=True) for split in chances),
        Head("clean", f"{words.SELECTION_SET}, %", numeric=True),
        Head("robust", f"{words.SELECTION_SET}, %", numeric=True),
        *_option_heads(df, named),
    ]
    along = axes.along(objectives)
    dominated = dominated_on_test(df, objectives)
    frame = df.assign(dominated=dominated)[df["member"]]
    frame = frame.sort_values([along.column("judged_"), "trial"], ascending=[along.sign < 0, True])
    rows = []
    for trial in points.records(frame):
        unread = words.missing(trial["test_clean_accuracy"])
        standing = "not read yet" if unread else "dominated" if trial["dominated"] else "not dominated"
        rows.append(
            [
                Cell(str(trial["trial"]), mark="trial"),
                *_made_cells(df, trial),
                _accuracy(trial, "test_clean_accuracy"),
                _accuracy(trial, "test_robust_accuracy"),
                *_cost_cells(trial, objectives),
                Cell(standing, mark="state hollow" if standing == "dominated" else "state"),
                *(Cell(words.probability(chances[split].get(trial["trial"]))) for split in chances),
                _plain(trial["judged_clean_accuracy"], mark="soft"),
                _plain(trial["judged_robust_accuracy"], mark="soft"),
                *_option_cells(trial, named),
            ]
        )
    return Table(heads, rows)


def neighbours(comparison: Comparison, df: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """Each frontier trial against the next one along the first objective: differences in points, and whether images tell
    them apart; and what is saved of other objectives. Intervals are of one difference, p of all of the table.

    Args:
        comparison: of the split that decides.
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    lost = METRICS[axes.along(objectives).name].short
    signs = [1 if metric == lost else -1 for metric in SHORT]
    heads = [Head("from"), Head("to")]
    for metric, sign in zip(SHORT, signs, strict=True):
        heads += [Head(f"{metric} {'lost' if sign > 0 else 'gained'}", "points, 95 % interval", numeric=True)]
        heads += [Head("p (Holm)", metric, numeric=True)]
    costs = [name for name in objectives if name not in ACCURACIES]
    gains = {name: -1 if objectives[name] == "max" else 1 for name in costs}
    heads += [Head(_gained(name, gains[name]), axes.head(name), numeric=True) for name in costs]
    spent = df.groupby(settings(df))[costs].mean()
    where = dict(zip(df["trial"], settings(df), strict=True))
    steps = {trial["trial"]: trial for trial in points.records(comparison.trials.dropna(subset="next"))}
    at = next(iter(set(steps) - {trial["next"] for trial in steps.values()}), None)  # where no other one leads
    rows = []
    while at in steps:
        trial = steps[at]
        at = trial["next"]
        cells = [Cell(str(trial["trial"]), mark="trial"), Cell(str(trial["next"]))]
        for metric, sign in zip(SHORT, signs, strict=True):
            ends = sorted(sign * trial[f"{metric}_difference_{end}"] for end in ("low", "high"))
            around = " to ".join(map(words.points, ends))
            cells.append(Cell(words.points(sign * trial[f"{metric}_difference"]), remark=around))
            p = trial[f"{metric}_p"]
            cells.append(Cell(words.p_value(p), mark="strong" if p < 1 - CONFIDENCE else "soft"))
        for name in costs:
            saved = gains[name] * (spent.loc[trial["setting"], name] - spent.loc[where[at], name])
            cells.append(Cell(axes.in_column(name, saved), sort=_key(saved)))
        rows.append(cells)
    return Table(heads, rows)


def attacks(comparison: Comparison, df: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """Attack by attack, how many images of each trial on the frontier it broke that all before it had left standing.

    Args:
        comparison: of the split that decides.
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    on_it = points.leaders(df, objectives)
    leading = [number for number in comparison.broken if number in on_it]
    named = list(dict.fromkeys(name for number in leading for name in comparison.broken[number]))
    heads = [Head("trial", numeric=True), Head("images", numeric=True)]
    heads += [
        Head("wrong", "as they are", numeric=True) if name == CLEAN else Head(name, "broke", numeric=True)
        for name in named
    ]
    heads += [Head("stand", "all attacks", numeric=True)]
    images = dict(zip(comparison.trials["trial"], comparison.trials["images"], strict=True))
    rows = []
    for number in leading:
        broken = comparison.broken[number]
        left = images[number] - sum(broken.values())
        counts = [str(broken[name]) if name in broken else "" for name in named]
        rows.append(
            [
                Cell(str(number), mark="trial"),
                Cell(f"{images[number]:,}"),
                *map(Cell, counts),
                Cell(str(left), mark="strong"),
            ]
        )
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
        for setting in points.records(comparisons[split].seeds) if split in comparisons else []:
            cells = [Cell(str(setting["trial"]), mark="trial"), Cell(str(setting["seeds"])), Cell(_NAMES[split])]
            for metric in SHORT:
                cells += [
                    Cell(words.number(setting[f"{metric}_mean"])),
                    Cell(words.number(setting[f"{metric}_seeds"]), mark="strong"),
                    Cell(words.number(setting[f"{metric}_images"]), mark="soft"),
                ]
            rows.append(cells)
    return Table(heads, rows)


def trials(df: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """Every trial, by number, with the device time of its training, costs that are objectives, and measures of all."""
    named = options(df)
    costs = [
        name for name in in_order({*objectives, "cost_device_hours", *measured.of_all(df)}) if name not in ACCURACIES
    ]
    heads = [
        Head("trial", numeric=True),
        Head("status"),
        *_made_heads(df),
        Head("clean", f"{words.SELECTION_SET}, %", numeric=True),
        Head("robust", f"{words.SELECTION_SET}, %", numeric=True),
        Head("clean", "test, %", numeric=True),
        Head("robust", "test, %", numeric=True),
        Head("clean", f"{words.CHEAP}, %", numeric=True),
        Head("robust", f"{words.CHEAP}, %", numeric=True),
        *_cost_heads(costs),
        *_option_heads(df, named),
        Head("how it was judged, or why it ended"),
    ]
    rows = []
    for trial in points.records(df):
        state = words.status(trial["status"]) + ("" if trial["feasible"] else ", infeasible")
        member, flagged = bool(trial["member"]), bool(trial["flags"])
        rows.append(
            [
                Cell(str(trial["trial"]), mark="trial"),
                Cell(
                    "on the frontier" if member else "flagged" if flagged else state,
                    mark="member" if member else "hollow" if flagged else trial["status"],
                ),
                *_made_cells(df, trial),
                _plain(trial["judged_clean_accuracy"]),
                _robust(trial),
                _plain(trial["test_clean_accuracy"]),
                _plain(trial["test_robust_accuracy"]),
                _plain(trial["clean_accuracy"], mark="soft"),
                _plain(trial["robust_accuracy"], mark="soft"),
                *_cost_cells(trial, costs),
                *_option_cells(trial, named),
                Cell(_story(trial), mark="wide"),
            ]
        )
    return Table(heads, rows)


def _made_heads(df: pd.DataFrame) -> list[Head]:
    """A column for what derived points were made from, where there are any."""
    return [Head("made from", "without training")] if df["derived"].notna().any() else []


def _made_cells(df: pd.DataFrame, trial: Mapping[str, Any]) -> list[Cell]:
    return [Cell(words.made(trial), mark="option")] if df["derived"].notna().any() else []


def _story(trial: Mapping[str, Any]) -> str:
    judged = words.how_judged(trial) if trial["status"] == "complete" or trial["judging"] != "none" else ""
    flagged = f"flagged {trial['flags']}" if trial["flags"] else ""
    again = "" if words.missing(trial["replicate_of"]) else f"trial {trial['replicate_of']} with another training seed"
    return "; ".join(filter(None, [judged, words.misses(trial), flagged, again, trial["cause"] or ""]))


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


def _gained(name: str, sign: int) -> str:
    """What a step along the frontier brings, of an objective that the judge does not measure anew."""
    return f"{METRICS[name].short} {'gained' if sign < 0 else 'less'}" if name not in COSTS else "saved"


def _cost_heads(names: Iterable[str]) -> list[Head]:
    return [
        Head("training", axes.head(name), numeric=True)
        if name in COSTS
        else Head(METRICS[name].short, "tune images, %" if is_share(name) else "tune images", numeric=True)
        for name in names
        if name not in ACCURACIES
    ]


def _cost_cells(trial: Mapping[str, Any], names: Iterable[str]) -> list[Cell]:
    values = {name: trial[name] for name in names if name not in ACCURACIES}
    return [
        Cell("" if words.missing(value) else axes.in_column(name, value), sort=_key(value))
        for name, value in values.items()
    ]


def _option_heads(df: pd.DataFrame, named: list[str]) -> list[Head]:
    """The last name of an option's path is its head, the way there stands beneath: names are long and tables narrow."""
    return [Head(last, way, numeric=_numeric(df[name])) for name in named for way, last in [words.parted(name)]]


def _option_cells(trial: Mapping[str, Any], named: list[str]) -> list[Cell]:
    return [Cell(words.value(trial[name]), sort=_key(trial[name]), mark="option") for name in named]


def _numeric(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _key(value: Any) -> float | str | None:
    """What a cell is sorted by: a number as it is, so that 10 follows 9 and 1e-3 precedes both; "" is always last."""
    if words.missing(value):
        return ""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
