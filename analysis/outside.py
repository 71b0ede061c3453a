"""Trials outside the constraints, in sentences: which, by how much, and the nearest where there is no other."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import words

_SHOWN = 5  # trials that a sentence names


def nothing_inside(df: pd.DataFrame) -> str:
    """That no complete trial keeps to the constraints, and which misses them least; "" where one does.

    Args:
        df: as `analysis.load` gives it.
    """
    complete = df[df["status"] == "complete"]
    if "outside" not in df or complete.empty or complete["feasible"].any():
        return ""
    nearest = _nearest(complete)
    sentence = f"No trial keeps to the constraints. The nearest is {_named(nearest)}."
    full = complete[complete["judging"] == "full"]
    if nearest["judging"] != "full" and len(full):
        sentence += f" Of those judged in full it is {_named(_nearest(full))}."
    return sentence


def warning(df: pd.DataFrame) -> str:
    """Which trials miss a constraint, and by how much, the nearest first; "" where none does, or the record does not say.

    Args:
        df: as `analysis.load` gives it.
    """
    if "outside" not in df:
        return ""
    missing = df[(df["status"] == "complete") & (df["outside"] > 0)].sort_values(["outside", "trial"])
    if missing.empty:
        return ""
    listed = ", ".join(_named(trial) for trial in missing.head(_SHOWN).to_dict("records"))
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    return (
        f"Outside the constraints, and on no frontier: {listed}{more}. Judging ends as soon as no attack that is left can "
        "bring a trial inside."
    )


def _nearest(rows: pd.DataFrame) -> dict[Any, Any]:
    return rows.sort_values(["outside", "trial"]).head(1).to_dict("records")[0]


def _named(trial: dict[Any, Any]) -> str:
    return f"trial {trial['trial']} ({words.misses(trial)})"
