"""Derived points in words."""

from __future__ import annotations

from sweeps.events import PointEnded
from sweeps.record import points
from sweeps.view.words import accuracies, reason


def of(parents: tuple[str, ...]) -> str:
    """`0003 and 0005`, `0003@10, 0004 and zoo:Standard`: trials by their numbers, others as they were given."""
    named = [_named(parent) for parent in parents]
    return " and ".join(filter(None, [", ".join(named[:-1]), *named[-1:]]))


def made(event: PointEnded) -> str:
    """`point 0012 (soup of 0003 and 0005, weights 0.333, 0.667) complete: clean 90.0%, robust 51.2%  0.4 s  3 of 7`.

    Behind it stands what its maker found out, such as a barrier between its parents.
    """
    trial = event.trial
    maker, numbers = points.recipe(trial.params)
    about = ", ".join(filter(None, [f"{maker} of {of(event.parents)}", numbers]))
    cost = "" if event.seconds is None else f"  {event.seconds:.1f} s"
    line = f"point {trial.number:04d} ({about}) {trial.outcome}{reason(trial)}{accuracies(trial.metrics)}{cost}"
    return f"{line}  {event.done} of {event.wanted}" + (f"; {event.found}" if event.found else "")


def _named(parent: str) -> str:
    number, at, epoch = parent.partition("@")
    return f"{int(number):04d}{at}{epoch}" if number.isdigit() else parent
