"""What trials must keep to, and how far one misses it. Pure functions of numbers.

Two measures of a miss: in the metric's own unit, for people, and as a share between 0 and 1, for whatever adds misses up:
accuracies, seconds and passes differ by many orders, and the largest unit would drown all others.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Protocol

from robustray.measures.metrics import ACCURACIES, METRICS, is_share


class Ends(Protocol):
    """The smallest and the largest allowed value, ends included; None where there is none."""

    @property
    def min(self) -> float | None:
        """The smallest."""
        ...

    @property
    def max(self) -> float | None:
        """The largest."""
        ...


@dataclass(frozen=True)
class Limit:
    """`Ends` as the record keeps them."""

    min: float | None = None
    max: float | None = None


Limits = Mapping[str, Ends]
"""By metric."""


def violations(values: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """By metric, how far it misses its limit, in its own unit: zero or less where it holds, infinite where it is unknown."""
    return {name: max(_over(values.get(name), ends)) for name, ends in limits.items()}


def shares(values: Mapping[str, float], limits: Limits) -> dict[str, float]:
    """The same as a share of the larger of value v and limit l, which lies in [-1, 1]: (l - v) / max(v, l) for a smallest value
    l, (v - l) / max(v, l) for a largest one.

    So half of what is asked for misses by 1/2, and so does twice what is allowed, of passes as of accuracies; 1 is the worst
    there is. Sums of such shares compare trials over all constraints.
    """
    found = {}
    for name, ends in limits.items():
        value, (under, over) = values.get(name), _over(values.get(name), ends)
        limit = ends.min if under >= over else ends.max
        found[name] = _share(max(under, over), value, limit)
    return found


def at_best(ranges: Mapping[str, tuple[float, float]], limits: Limits) -> dict[str, float]:
    """By metric that misses its limit wherever between two numbers it lies, by how much at least."""
    found = {}
    for name in ranges.keys() & limits.keys():
        (low, high), ends = ranges[name], limits[name]
        found[name] = max(_over(high, ends)[0], _over(low, ends)[1])
    return missed({name: found[name] for name in limits if name in found})


def missed(violated: Mapping[str, float]) -> dict[str, float]:
    """Those of the violations that are misses."""
    return {name: amount for name, amount in violated.items() if amount > 0}


def measured(violated: Mapping[str, float]) -> dict[str, float]:
    """Misses that no judging can mend: what training alone measures, such as a cost."""
    return {name: amount for name, amount in missed(violated).items() if name not in ACCURACIES}


def by(amounts: Mapping[str, float]) -> str:
    """Misses in a few words: `robust_accuracy by 8.0 points and cost_passes by 200`."""
    return " and ".join(f"{name} by {_amount(name, amount)}" for name, amount in amounts.items())


def said(values: Mapping[str, float], limits: Limits, *, at_most: Container[str] = ()) -> list[str]:
    """Each miss in words: `robust_accuracy 52.0 % is 8.0 points below 60.0 %`.

    Args:
        at_most: metrics of which the value is an upper bound.
    """
    lines = []
    for name, ends in limits.items():
        value, (under, over) = values.get(name), _over(values.get(name), ends)
        limit, amount, way = (ends.min, under, "below") if under >= over else (ends.max, over, "above")
        if amount <= 0 or limit is None:
            continue
        if value is None:
            lines.append(f"{name} is not known")
            continue
        unit = " %" if is_share(name) else ""
        bound = "at most " if name in at_most else ""
        asked = f"{_printed(name, limit)}{unit}"
        lines.append(f"{name} {bound}{_printed(name, value)}{unit} is {_amount(name, amount)} {way} {asked}")
    return lines


def _over(value: float | None, ends: Ends) -> tuple[float, float]:
    """How far a value is below the smallest, and above the largest."""
    if value is None:
        return (-math.inf, math.inf) if ends.min is None else (math.inf, -math.inf)
    return (
        -math.inf if ends.min is None else ends.min - value,
        -math.inf if ends.max is None else value - ends.max,
    )


def _share(amount: float, value: float | None, limit: float | None) -> float:
    if value is None or limit is None:
        return 1.0
    scale = max(abs(value), abs(limit))
    return amount / scale if scale else 0.0


def _amount(name: str, amount: float) -> str:
    return f"{_printed(name, amount)} points" if is_share(name) else _printed(name, amount)


def _printed(name: str, value: float) -> str:
    return METRICS[name].printed(value) if name in METRICS else f"{value:.3g}"
