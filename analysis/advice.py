"""Which member to use where nothing else decides, and why: one of the frontier, chosen by the numbers it was fixed by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import axes, picking, points, words
from analysis.axes import Axis
from analysis.standing import dominated_on_test
from analysis.volume import largest, volume
from robustray.measures.metrics import ACCURACIES, METRICS, in_order


@dataclass(frozen=True)
class Advice:
    """One member, with what it is and why it."""

    trial: int
    numbers: str  # `88.1 % clean / 50.6 % robust on the selection set, 87.6 % / 49.2 % on test`
    why: list[str]  # sentences


def balanced(df: pd.DataFrame, objectives: Mapping[str, str]) -> int | None:
    """The trial of the frontier that alone attains most; None where there is none with numbers.

    What one point with gains g_i over the worst corner dominates is the product of the g_i: for two accuracies clean times
    robust, from 0. At its maximum a step along the frontier loses a larger share of one objective than it gains of the
    other (Nash, The Bargaining Problem, 1950). Test decides nothing: members stand by their numbers on the selection set,
    before anything is judged by the cheap attack's.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    prefix = "" if points.stage(df) == "cheap" else "judged_"
    columns = [Axis(name, mode).column(prefix) for name, mode in objectives.items()]
    leading = df[df["trial"].isin(points.leaders(df, objectives))].dropna(subset=columns).sort_values("trial")
    if leading.empty:
        return None
    worst = largest(df, objectives)
    alone = [volume(leading.iloc[[at]], objectives, worst, prefix) for at in range(len(leading))]
    return int(leading["trial"].iloc[alone.index(max(alone))])


def advice(df: pd.DataFrame, objectives: Mapping[str, str]) -> Advice | None:
    """The balanced member in words: what it is, what its neighbours would give and take, and what speaks against it."""
    number = balanced(df, objectives)
    if number is None:
        return None
    row = _row(df, number)
    named = [Axis(name, objectives[name]) for name in in_order(objectives)]
    return Advice(
        number,
        picking.numbers(row, objectives),
        [*_why(df, objectives, number, named), *_against(df, objectives, number)],
    )


def _why(df: pd.DataFrame, objectives: Mapping[str, str], number: int, named: Sequence[Axis]) -> list[str]:
    """What the neighbours along the first objective give and take, by the numbers that decide, and whether test agrees."""
    prefix = "" if points.stage(df) == "cheap" else "judged_"
    where = f", {picking.where(prefix)}" if any(axis.judged for axis in named) else ""
    if len(named) == 1:
        return [f"It has the best {axes.spoken(named[0].name)}{where.replace(',', '', 1)}."]
    if len(points.leaders(df, objectives)) == 1:
        return ["It is the only one on the frontier."]
    product = (
        "clean times robust accuracy is largest there"
        if set(objectives) == set(ACCURACIES)
        else "alone it attains most of what the frontier dominates"
    )
    why = [f"If nothing else decides: {product}{where}, so the next ones lose relatively more than they gain."]
    first = named[0].column(prefix)
    leading = df[df["trial"].isin(points.leaders(df, objectives))].dropna(subset=[first])
    ordered = leading.sort_values([first, "trial"], ascending=[named[0].sign < 0, True])["trial"].tolist()
    at, beaten = ordered.index(number), set(df.loc[dominated_on_test(df, objectives), "trial"])
    for other in [*ordered[max(at - 1, 0) : at], *ordered[at + 1 : at + 2]]:
        steps = [
            _step(axis, _row(df, other)[axis.column(prefix)] - _row(df, number)[axis.column(prefix)]) for axis in named
        ]
        fell = "; on test another member dominates it" if other in beaten else ""
        why.append(f"Trial {other}{where}: {', '.join(filter(None, steps))}{fell}.")
    return why


def _against(df: pd.DataFrame, objectives: Mapping[str, str], number: int) -> list[str]:
    beaten = set(df.loc[dominated_on_test(df, objectives), "trial"])
    return ["On test another member dominates it: look at that one too."] if number in beaten else []


def _step(axis: Axis, difference: float) -> str:
    """`+2.7 points clean`, `-1,200 passes`: what another member has more of."""
    if words.missing(difference):
        return ""
    if axis.scale == 100:
        return f"{words.points(difference)} points {METRICS[axis.name].short}"
    sign = "+" if difference > 0 else "\N{MINUS SIGN}"
    return f"{sign}{axes.printed(axis.name, abs(difference))}"


def _row(df: pd.DataFrame, number: int) -> Mapping[str, Any]:
    (found,) = points.records(df[df["trial"] == number])
    return found
