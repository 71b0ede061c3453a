"""Why trials are not on the frontier, counted: what failed, what was stopped, and whom whose bound was dominated by."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis import points, words
from analysis.tables import Cell, Head, Table
from sweeps.record.facts import UNFINISHED, Snapshot

_NUMBER = re.compile(r"\d[\d.,e+-]*")
_LOGS = 5
_SHOWN = 12  # numbers of trials that are listed; the table of all trials has the others


def table(df: pd.DataFrame, objectives: Mapping[str, str]) -> Table:
    """A row for each kind of ending and reason, the most frequent first; trials on the frontier are no part of it.

    Reasons that differ in numbers alone (an epoch, a loss, a trial's own number) are one.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    leading = points.leaders(df, objectives)
    groups: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for trial in points.records(df):
        if trial["trial"] in leading or trial["status"] in UNFINISHED:
            continue
        how, why = _ending(trial)
        alike = why if how == "proven dominated" else _NUMBER.sub("#", why)
        groups.setdefault((how, alike), []).append((trial["trial"], why))
    heads = [Head("ended"), Head("trials", numeric=True), Head("why"), Head("which")]
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    return Table(heads, [_row(how, members) for (how, _), members in ordered])


def last_lines(snapshot: Snapshot) -> list[tuple[int, str, str]]:
    """Of the trials that failed last: number, cause, and how the log ended."""
    failed = [trial for trial in reversed(snapshot.trials) if trial.last]
    return [(trial.number, trial.cause or "", "\n".join(trial.last)) for trial in failed[:_LOGS]]


def _ending(trial: Mapping[str, Any]) -> tuple[str, str]:
    """How a trial ended, and why in the record's own words."""
    if trial["status"] != "complete":
        return words.status(trial["status"]), str(trial["cause"] or "no reason is recorded")
    if trial["flags"]:
        return "flagged", str(trial["flags"])
    if trial["judging"] == "failed":
        return "judging failed", str(trial["cause"])
    if trial["judging"] == "skipped" and not words.missing(trial["dominated_by"]):
        return "proven dominated", f"by trial {trial['dominated_by']}, {_after(trial)}"
    if not trial["feasible"] or trial["judging"] == "skipped":
        return "misses a constraint", re.split(r" by ", words.misses(trial))[0] or "at best"
    if trial["judging"] == "full":
        return "dominated", "judged in full"
    return "not judged", f"numbers of the {words.CHEAP} only"


def _after(trial: Mapping[str, Any]) -> str:
    return f"shown by {trial['skipped_after']}" if trial["skipped_after"] else "before any attack"


def _row(how: str, trials: list[tuple[int, str]]) -> list[Cell]:
    numbers, whys = [str(number) for number, _ in trials], list(dict.fromkeys(why for _, why in trials))
    more = f" and {len(whys) - 1} more like it" if len(whys) > 1 else ""
    rest = f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else ""
    return [
        Cell(how, mark="failed" if how in ("failed", "diverged", "out of memory", "judging failed") else "state"),
        Cell(str(len(trials)), sort=float(len(trials))),
        Cell(f"{whys[0]}{more}", mark="wide"),
        Cell(", ".join(numbers[:_SHOWN]) + rest, mark="option"),
    ]
