"""A choice and a verdict for a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group
from rich.text import Text

from analysis import axes, points, words
from analysis.comparison import SHORT
from analysis.deciding.choosing import Choice
from analysis.pareto import CONFIDENCE
from analysis.printed import plain_table
from robustray.measures.metrics import ACCURACIES, METRICS
from sweeps.standing import TEST


def choice(of: Choice, objectives: Any) -> Group:
    """Why it is this one, and the table of alternatives."""
    judged = "judged_clean_accuracy" in of.table and of.table["judged_clean_accuracy"].notna().any()
    prefix = "judged_" if judged else ""
    costs = [name for name in objectives if name not in ACCURACIES]
    tests = [f"{metric} {what}" for metric in SHORT for what in ("more", "p")]
    table = plain_table(
        "trial", "", *SHORT, *(f"test {metric}" for metric in SHORT), *(_head(name) for name in costs), *tests
    )
    for trial in points.records(of.table):
        row = [str(trial["trial"]), trial["stands"]]
        row += [words.number(trial[f"{prefix}{name}"]) for name in ACCURACIES]
        row += [words.number(trial[f"test_{name}"]) for name in ACCURACIES]
        row += [METRICS[name].printed(trial[name]) for name in costs]
        for metric in SHORT:
            ends = words.interval_of_points(trial[f"{metric}_low"], trial[f"{metric}_high"])
            row += [f"{words.points(trial[f'{metric}_difference'])}  {ends}".rstrip(), _p(trial[f"{metric}_p"])]
        chosen, out = trial["trial"] == of.trial, trial["stands"] == "does not meet it"
        table.add_row(*row, style="bold" if chosen else "dim" if out else "")
    where = "test" if of.split == TEST else f"the {words.SELECTION_SET}"
    caption = (
        f"in percent; more: points that the other has over trial {of.trial} on the same images of {where}, 95 % interval, and "
        "p by McNemar's test, adjusted by Holm's method for all of them"
    )
    return Group(*(Text(line) for line in of.why), table, Text(caption, style="dim"))


def _head(name: str) -> str:
    return f"{axes.spoken(name)}, {axes.unit(name)}".rstrip(", ")


def _p(p: Any) -> str:
    text = words.p_value(p)
    return f"[bold]{text}[/bold]" if text and p < 1 - CONFIDENCE else text
