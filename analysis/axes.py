"""What a sweep's objectives are drawn along: two of them span the figure, one is a ranking, a third one colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis import words
from robustray.measures.metrics import ACCURACIES, METRICS, in_order, is_share

USUAL: Mapping[str, str] = {name: METRICS[name].direction for name in ACCURACIES}
"""The objectives of a sweep that names none."""
RANK = "rank"  # the axis of a sweep with a single objective: there is nothing to trade it for


@dataclass(frozen=True)
class Axis:
    """One objective, in the unit it is drawn in: percent for fractions, else as it was measured."""

    name: str  # of the metric, or RANK
    mode: str  # "max" or "min"

    @property
    def judged(self) -> bool:
        """Whether the judge measures it anew, on images of its own, so that there is a test value and an interval."""
        return self.name in ACCURACIES

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.mode == "max" else -1

    @property
    def scale(self) -> float:
        """From what a table holds to what is drawn."""
        return 100.0 if is_share(self.name) else 1.0

    @property
    def title(self) -> str:
        """`clean accuracy, %`, `training cost, passes`."""
        return "rank" if self.name == RANK else ", ".join(filter(None, (spoken(self.name), unit(self.name))))

    def column(self, prefix: str) -> str:
        """The column of a table with its values: of accuracies under a prefix, such as `judged_`."""
        return f"{prefix}{self.name}" if self.judged else self.name


def plane(objectives: Mapping[str, str]) -> tuple[Axis, Axis]:
    """The axes of the figure, x and y.

    Clean against robust accuracy where both are objectives. Else the first objective upwards, for accuracies come first
    in the list of metrics, over the second one, such as a cost; or over the rank where it is the only one.
    """
    first, *others = (Axis(name, objectives[name]) for name in in_order(objectives))
    if not others:
        return Axis(RANK, "min"), first
    return (first, others[0]) if others[0].judged else (others[0], first)


def along(objectives: Mapping[str, str]) -> Axis:
    """The objective that tables and sentences go along, from its best value to its worst: the first in the list of metrics."""
    return next(Axis(name, objectives[name]) for name in in_order(objectives))


def third(objectives: Mapping[str, str]) -> Axis | None:
    """The objective that has no axis and colours the marks; None where there are two or fewer."""
    drawn = {axis.name for axis in plane(objectives)}
    return next((Axis(name, objectives[name]) for name in in_order(objectives) if name not in drawn), None)


def spoken(name: str) -> str:
    """`clean accuracy`, `training cost`."""
    return "training cost" if name.startswith("cost_") else name.replace("_", " ")


def unit(name: str) -> str:
    """`%`, `passes`, `device hours`; nothing of a plain number."""
    return {"fraction": "%", "hours": "device hours", "number": ""}.get(METRICS[name].unit, METRICS[name].unit)


def head(name: str) -> str:
    """What stands beneath a column's head: the unit of its numbers, `time` where each has its own."""
    return {"hours": "device time", "seconds": "time"}.get(METRICS[name].unit, unit(name))


def in_column(name: str, value: Any) -> str:
    """A number of a column: `97.5`, `12,300`, `\N{MINUS SIGN}4 min 5 s`."""
    seconds = {"hours": 3600.0, "seconds": 1.0}.get(METRICS[name].unit)
    size = METRICS[name].printed(abs(value)) if seconds is None else words.duration(seconds * abs(value))
    return f"\N{MINUS SIGN}{size}" if value < 0 else size


def subject(objectives: Mapping[str, str]) -> str:
    """`clean and robust accuracy`, `robust accuracy and training cost in passes`: what the frontier is one of."""
    if set(objectives) == set(ACCURACIES):
        return "clean and robust accuracy"
    ends = {name: "" if is_share(name) or not unit(name) else f" in {unit(name)}" for name in in_order(objectives)}
    named = [spoken(name) + end for name, end in ends.items()]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def printed(name: str, value: Any) -> str:
    """`97.5 % clean`, `12,300 passes`, `4 min 5 s of device time`; nothing where the number is missing."""
    if words.missing(value):
        return ""
    metric = METRICS[name]
    if metric.unit == "hours":
        return f"{words.duration(3600 * value)} of device time"
    return (
        f"{words.percent(value)} {metric.short}"
        if is_share(name)
        else f"{metric.printed(value)} {unit(name) or metric.short}"
    )
