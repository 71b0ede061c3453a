"""Numbers and options in words, for lines and views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robustray.measures.metrics import ACCURACIES, METRICS
from robustray.plain import plain
from sweeps.record import TrialRecord
from sweeps.record.constraints import by, missed


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`, `3 d 4:00:00`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    whole, minutes = divmod(minutes, 60)
    days, of_day = divmod(whole, 24)
    if days:
        return f"{days:,} d {of_day}:{minutes:02d}:{rest:02d}"
    return f"{whole}:{minutes:02d}:{rest:02d}" if whole else f"{minutes}:{rest:02d}"


def about(seconds: float) -> str:
    """`less than 10 s`, `about 40 s`, `about 2 h 10 min`, `about 3 days`: no finer than a guess is good for."""
    if seconds < 10:
        return "less than 10 s"
    if seconds < 95:
        return f"about {round(seconds / 10) * 10} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    if seconds < 2 * 86400:
        whole, rest = divmod(round(seconds / 600) * 10, 60)
        return f"about {whole} h {rest} min" if rest else f"about {whole} h"
    days = seconds / 86400
    return f"about {days:,.0f} days" if days < 1000 else "more than 1,000 days"


def trainings(spent: float, budget: float) -> str:
    """`5.3 of 24 trainings`: how much of a budget of whole trainings is spent."""
    return f"{min(spent, budget):,.1f} of {budget:,} trainings"


def accuracies(values: Mapping[str, Any]) -> str:
    """`: clean 90.0%, robust 51.2%`; nothing where neither is known."""
    shown = [f"{METRICS[name].short} {values[name]:.1%}" for name in ACCURACIES if name in values]
    return ": " + ", ".join(shown) if shown else ""


def reason(trial: TrialRecord) -> str:
    """` (the loss is nan)`: why it ended as it did, where that is to be said."""
    outside = "" if trial.feasible else f" (misses {by(missed(trial.violations))})"
    return f" ({trial.cause})" if trial.cause else outside


def short(params: Mapping[str, Any]) -> str:
    """`beta 2.3, lr 0.11, boundaries.0 12.7`: options by the last part of their names, leaves of lists by their list's too."""
    return ", ".join(f"{plain(_last(name))} {option(value)}" for name, value in params.items())


def _last(name: str) -> str:
    """`beta`, or `boundaries.0`: a place in a list is no name, so what stands before it comes along."""
    parts = name.split(".")
    start = len(parts) - 1
    while start and parts[start].isdigit():
        start -= 1
    return ".".join(parts[start:])


def option(value: Any) -> str:
    """Three figures of a number; any other value as it is."""
    return f"{value:.3g}" if isinstance(value, float) else plain(str(value))
