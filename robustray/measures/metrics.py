"""What is measured of a trial, in one list: its unit, its direction, who measures it, how it is printed. Needs no torch."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from robustray.registry import Part, parts

Direction = Literal["max", "min"]
Unit = Literal["fraction", "seconds", "hours", "passes", "number"]


@dataclass(frozen=True)
class Metric:
    """One number of a trial."""

    name: str
    meaning: str
    unit: Unit
    direction: Direction  # which way is better
    short: str  # for headers and lines where there is little room
    judged: bool = False  # training measures it cheaply, the judge anew
    needs: tuple[str, ...] = ()  # the option of the judge, by its keys, without which it is not measured

    def printed(self, value: float) -> str:
        """`97.5` for a fraction, in percent; three figures of anything else."""
        return f"{100 * value:.1f}" if self.unit == "fraction" else figures(value)


def figures(number: float) -> str:
    """Three figures, `12,300`."""
    return f"{float(f'{number:.3g}'):,.0f}" if 100 <= number < 1e7 else f"{number:.3g}"


def duration(seconds: float) -> str:
    """`24.6 h`, `4 min 5 s`, `12 s`, `0.4 s`."""
    if seconds >= 3600:
        return f"{seconds / 3600:,.1f} h"
    if 0.05 <= seconds < 0.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def measure_of(name: str) -> type[Part] | None:
    """The registered measure that a name in `measures` stands for: `lipschitz`, or a label that begins with it, as
    `lipschitz_softmax` does; of several the longest. None where there is none.
    """
    known = [own for own in parts("measure") if name == own or name.startswith(f"{own}_")]
    return parts("measure")[max(known, key=len)] if known else None


class _Metrics(UserDict[str, Metric]):
    """Those that are always there; asked by its name, a measure of a sweep's `measures` is one too, and unit and direction are
    its class's: who prints a record needs no sweep. The first are all that it goes through.
    """

    def __missing__(self, name: str) -> Metric:
        measure = measure_of(name)
        if measure is None:
            raise KeyError(name)
        unit, better = cast(Unit, measure.unit), cast("Direction | None", measure.better)  # type: ignore[attr-defined]
        meaning = f"{name} of `measures`; tune images, as training ends"
        return Metric(name, meaning, unit, better or "min", name.replace("_", " "))

    def __contains__(self, name: object) -> bool:
        return name in self.data or (isinstance(name, str) and measure_of(name) is not None)


METRICS: Mapping[str, Metric] = _Metrics(
    (metric.name, metric)
    for metric in (
        Metric(
            "clean_accuracy",
            "fraction of validation images classified correctly",
            "fraction",
            "max",
            "clean",
            judged=True,
        ),
        Metric(
            "robust_accuracy",
            "fraction that the attack left correct: judge.cheap in training; the judge's attacks on the frontier",
            "fraction",
            "max",
            "robust",
            judged=True,
        ),
        Metric(
            "spatial_accuracy",
            "fraction correct when turned and moved, mean over judge.spatial's draws; tune images, as training ends",
            "fraction",
            "max",
            "spatial",
            needs=("spatial",),
        ),
        Metric(
            "spatial_worst_accuracy",
            "fraction correct as they are and at every draw of judge.spatial; tune images, as training ends",
            "fraction",
            "max",
            "spatial worst",
            needs=("spatial",),
        ),
        Metric(
            "spatial_grid_accuracy",
            "fraction correct as they are and at every point of judge.spatial.grid; tune images, as training ends",
            "fraction",
            "max",
            "spatial grid",
            needs=("spatial", "grid"),
        ),
        Metric(
            "spatial_fooling_rate",
            "fraction whose predicted class a turn and move changes, mean over judge.spatial's draws; tune images, as training "
            "ends",
            "fraction",
            "min",
            "spatial fooling",
            needs=("spatial",),
        ),
        Metric(
            "adversarial_fooling_rate",
            "fraction whose predicted class judge.cheap changes, right or wrong",
            "fraction",
            "min",
            "fooling",
        ),
        Metric("cost_seconds", "seconds of training, validation included", "seconds", "min", "seconds"),
        Metric("cost_device_hours", "the same in hours of a device", "hours", "min", "device-h"),
        Metric(
            "cost_passes",
            "training passes: a forward of an image is 1, a backward to it 1, to the weights 1 more",
            "passes",
            "min",
            "passes",
        ),
    )
)
"""By name, in the order of all tables. Objectives and constraints are named after these, and after a sweep's measures."""

ACCURACIES = tuple(name for name, metric in METRICS.items() if metric.judged)
"""`clean_accuracy`, `robust_accuracy`: what is judged."""
SHARES = tuple(name for name, metric in METRICS.items() if metric.unit == "fraction")
"""Shares of images: what is measured of a model, cheaply, on the tune images. Some only where the judge asks for it."""
COSTS = tuple(name for name in METRICS if name not in SHARES)
"""What training costs."""


def in_order(named: Iterable[str]) -> list[str]:
    """Names of metrics in the order of all tables: those that are always there first, measures after them by name."""
    found = set(named)
    return [*(name for name in METRICS if name in found), *sorted(found - set(METRICS))]


def is_share(name: str) -> bool:
    """Whether a metric is a share of images, which lies in [0, 1]."""
    return name in METRICS and METRICS[name].unit == "fraction"
