"""Numbers and judgements in words, the same in figure, page and tables. Plain text: whoever writes HTML escapes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd

from robustray.measures.metrics import duration as duration
from sweeps.record import TrialRecord

SELECTION_SET = "selection set"
CHEAP = "cheap attack"
_THIN = "\N{NARROW NO-BREAK SPACE}"
_DASH = "\N{EN DASH}"


def missing(value: Any) -> bool:
    """Whether a table's cell says nothing: None, nan or <NA>."""
    return value is None or (not isinstance(value, list | dict) and bool(pd.isna(value)))


def percent(fraction: Any, digits: int = 1) -> str:
    """`97.5 %`; nothing where the number is missing."""
    return "" if missing(fraction) else f"{100 * fraction:.{digits}f}{_THIN}%"


def number(fraction: Any, digits: int = 1) -> str:
    """A fraction in percent without the sign, for columns whose header has it."""
    return "" if missing(fraction) else f"{100 * fraction:.{digits}f}"


def interval(low: Any, high: Any) -> str:
    """`96.3-98.4`, both in percent."""
    return "" if missing(low) or missing(high) else f"{100 * low:.1f}{_DASH}{100 * high:.1f}"


def interval_of_points(low: Any, high: Any) -> str:
    """`-1.2 to +3.4`, the ends of a difference of accuracies in points."""
    return "" if missing(low) or missing(high) else f"{points(low)} to {points(high)}"


def probability(p: Any) -> str:
    """`0.97`, from resamples: `<0.01` and `>0.99` also where all of them agree, for others may not."""
    if missing(p):
        return ""
    return "<0.01" if p < 0.01 else ">0.99" if p > 0.99 else f"{p:.2f}"


def p_value(p: Any) -> str:
    """`0.042`, `<0.001`."""
    return "" if missing(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def points(fraction: Any) -> str:
    """A difference of accuracies in points, with its sign: `+2.4`."""
    return "" if missing(fraction) else f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `12,000 images`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def value(option: Any) -> str:
    """An option as a person would write it: four significant digits, no quotes."""
    if missing(option):
        return ""
    if isinstance(option, float):
        return f"{option:.4g}"
    if isinstance(option, date):  # YAML reads an unquoted moment as one
        return option.isoformat()
    return option if isinstance(option, str) else json.dumps(option, default=str)


def option_name(column: str) -> str:
    """`defense.trades.beta` for the column `option.defense.trades.beta`."""
    return column.removeprefix("option.")


def parted(column: str) -> tuple[str, str]:
    """`defense.trades`, `beta`; a place in a list is no name, so its list's comes along: `schedule`, `boundaries.0`."""
    parts = option_name(column).split(".")
    last = len(parts) - 1
    while last and parts[last].isdigit():
        last -= 1
    return ".".join(parts[:last]), ".".join(parts[last:])


def time(text: str) -> str:
    """`2026-11-20 12:45 UTC` for a moment in ISO 8601; any other text as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment.tzinfo else text


def judge_name(df: pd.DataFrame) -> str:
    """What judged accuracies were judged by; "" before any were.

    `AutoAttack standard` only where every result in the table is the authors' attacks; else the versions' own names. A
    flagged trial may have been judged by another version (`rand`), which its own row says: it does not rename the others.
    """
    judged = df[df["judge_version"].notna()]
    judged = judged[judged["flags"] == ""] if (judged["flags"] == "").any() else judged
    versions = " and ".join(dict.fromkeys(judged["judge_version"]))
    return f"AutoAttack {versions}" if len(judged) and bool(judged["autoattack"].all()) else versions


def made(trial: Mapping[str, Any]) -> str:
    """`soup of 2 and 3, weights 0.75, 0.25`: how a derived point came about; nothing for a trained trial."""
    if missing(trial["derived"]):
        return ""
    maker, comma, numbers = str(trial["derived"]).partition(", ")
    *before, last = str(trial["parents"]).split(", ")
    return f"{maker} of {' and '.join(filter(None, [', '.join(before), last]))}{comma}{numbers}"


def how_judged(trial: Mapping[str, Any]) -> str:
    """How one trial's numbers on the selection set came about."""
    if trial["judging"] == "full":
        name = f"AutoAttack {trial['judge_version']}" if trial["autoattack"] else trial["judge_version"]
        return f"{name} on {count(trial['judged_images'], 'validation image')}"
    if trial["judging"] == "skipped":
        after = f"bound after {trial['skipped_after']}" if trial["skipped_after"] else "bound before any attack"
        if missing(trial["dominated_by"]):
            return f"{after}, which misses a constraint"
        return f"{after}, dominated by trial {trial['dominated_by']}"
    if trial["judging"] == "failed":
        return f"judging failed; {CHEAP} only"
    return f"{CHEAP} only" if not missing(trial["robust_accuracy"]) else "not judged"


def misses(trial: Mapping[str, Any]) -> str:
    """The constraints that a trial misses and by how much; "" for none, and where the record does not say."""
    said = trial.get("misses")
    return "" if missing(said) else str(said)


def status(name: str) -> str:
    """`out of memory` for `out_of_memory`."""
    return name.replace("_", " ")


def stopped_before(trial: TrialRecord) -> str:
    """What a larger budget made of a trial that a spent one had stopped; "" where there was nothing of that."""
    if not trial.stops:
        return ""
    epochs = list(dict.fromkeys(stop.epoch for stop in trial.stops))
    where = " and ".join(count(epoch, "epoch") if epoch else "its look" for epoch in epochs)
    return f"stopped after {where}, then {'taken up again' if trial.taken_up else 'waited again'}"
