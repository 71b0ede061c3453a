"""Comparisons and the page's tables for a terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from analysis import tables, words
from analysis.comparison import SHORT
from analysis.correlation import Correlation
from analysis.pareto import CONFIDENCE
from robustray.measures.metrics import ACCURACIES
from sweeps.standing import TEST

_ADJUSTED = "p of the difference to the next one, adjusted for all of them"


def trials(compared: pd.DataFrame) -> Group:
    """The trials of a sweep as `analysis.compare` gives them, the most accurate first."""
    table = plain_table("trial", "", *SHORT, "P(not dominated)", "next", *(f"p (Holm) {metric}" for metric in SHORT))
    for _, trial in compared.sort_values(["clean_accuracy", "trial"], ascending=[False, True]).iterrows():
        table.add_row(
            str(trial["trial"]),
            "member" if trial["member"] else "flagged" if trial["flags"] else "",
            *(_accuracy(trial, name) for name in ACCURACIES),
            words.probability(trial["nondominated"]),
            "" if words.missing(trial["next"]) else str(trial["next"]),
            *(_p(trial[f"{metric}_p"]) for metric in SHORT),
            style="" if trial["member"] else "dim",
        )
    first = compared.iloc[0]
    where = TEST if first["split"] == TEST else f"the {words.SELECTION_SET}"
    images = words.count(int(first["images"]), "image")
    return Group(
        table, Text(f"{images} of {where}, {words.judge_name(compared)}; in percent, 95 % intervals; {_ADJUSTED}")
    )


def pair(compared: pd.DataFrame) -> Group:
    """Two models as `analysis.compare` gives them."""
    table = plain_table("", "a", "b", "a - b", "interval", "only a", "only b", "p")
    for metric, row in compared.iterrows():
        table.add_row(
            str(metric),
            *(words.number(row[model]) for model in ("a", "b")),
            words.points(row["difference"]),
            f"{words.points(row['low'])} to {words.points(row['high'])}",
            *(f"{row[model]:g}" for model in ("only_a", "only_b")),
            _p(row["p"]),
        )
    first = compared.iloc[0]
    images = words.count(int(first["images"]), "image")
    warnings = [
        Text(f"{model} is flagged, its robust accuracy may be too high: {first[f'flags_{model}']}")
        for model in ("a", "b")
        if first[f"flags_{model}"]
    ]
    caption = Text(f"{images}, {first['attacks']}; in percent, a - b in points with its 95 % interval")
    return Group(table, caption, *warnings)


def correlation(found: Correlation) -> Group:
    """Two columns as `analysis.correlation` compares them."""
    table = plain_table("", "value", "95 % interval", "p")
    for each in found.coefficients:
        table.add_row(each.name, f"{each.value:.3f}", f"{each.low:.3f} to {each.high:.3f}", _p(each.p))
    left_out = f"; {words.count(found.left_out, 'row')} without both numbers left out" if found.left_out else ""
    return Group(table, Text(f"{found.x} and {found.y}, {words.count(found.n, 'row')}{left_out}"))


def published(found: pd.DataFrame) -> Group:
    """Published models as `analysis.published.table` gives them."""
    shown = plain_table("entry", "architecture", "eps", "clean", "robust", "AutoAttack", "more data", "", "source")
    for _, model in found.iterrows():
        numbers = (f"{100 * model[name]:.2f}" for name in ("clean_accuracy", "robust_accuracy", "autoattack"))
        shown.add_row(
            model["entry"],
            model["architecture_class"],
            model["eps"],
            *numbers,
            "yes" if model["additional_data"] else "",
            model["flags"],
            model["source"],
            style="dim" if model["flags"] else "",
        )
    what = "in percent; robust is the best known, of others where they found a lower one than AutoAttack"
    last = "fastat's pgd_at is the last epoch, not averaged, unlike all of its other rows"
    told = f"{what}; {last}" if (found["source"] == "fastat").any() else what
    return Group(shown, Text(f"{words.count(len(found), 'model')}, {told}"))


def of_page(of: tables.Table) -> Table:
    """A table of the page."""
    heads = [f"{head.text}\n[dim]{head.remark}[/dim]" if head.remark else head.text for head in of.heads]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for head, text in zip(of.heads, heads, strict=True):
        shown.add_column(text, justify="right" if head.numeric else "left")
    for row in of.rows:
        shown.add_row(*(escape(f"{cell.text}  {cell.remark}".rstrip()) for cell in row))
    return shown


def plain_table(*columns: str) -> Table:
    """A table with a line under its header; columns of numbers are right-aligned, those without a name left."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "" else "right")
    return table


def _accuracy(trial: pd.Series[Any], column: str) -> str:
    return f"{words.number(trial[column])}  {words.interval(trial[f'{column}_low'], trial[f'{column}_high'])}"


def _p(p: Any) -> str:
    text = words.p_value(p)
    return f"[bold]{text}[/bold]" if text and p < 1 - CONFIDENCE else text
