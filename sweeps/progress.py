"""What a sweep says while it runs: plain lines, one per event, and a sign of life now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sweeps.record import Judged, Members, Skipped, TrialRecord

QUIET_SECONDS = 15.0


class Console:
    """Plain lines with the time of day, through one function."""

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write = write
        self._last = time.monotonic()
        self._running: dict[int, Mapping[str, Any]] = {}

    def say(self, line: str) -> None:
        """A line as it is."""
        self._write(line)
        self._last = time.monotonic()

    def event(self, line: str) -> None:
        """A line with the time of day."""
        self.say(f"{datetime.now():%H:%M:%S}  {line}")

    def progress(self, number: int, result: Mapping[str, Any]) -> None:
        """Keeps where a trial is; says so when nothing else was said for a while."""
        self._running[number] = result
        if time.monotonic() - self._last > QUIET_SECONDS:
            parts = [
                f"trial {n:04d} epoch {r['epoch']}/{r['epochs']}{_accuracies(r)}"
                for n, r in sorted(self._running.items())
            ]
            self.event("running: " + "; ".join(parts))

    def trial(self, trial: TrialRecord, done: int, wanted: int) -> None:
        """A trial has ended."""
        self._running.pop(trial.number, None)
        options = ", ".join(f"{name.rsplit('.', 1)[-1]} {_short(value)}" for name, value in trial.params.items())
        why = f" ({trial.cause})" if trial.cause else "" if trial.feasible else " (outside the constraints)"
        seconds = trial.metrics.get("cost_seconds")
        cost = f"  {seconds:.1f} s" if seconds is not None else ""
        self.event(
            f"trial {trial.number:04d} {trial.outcome}{why}{_accuracies(trial.metrics)}{cost}  [{options}]"
            f"  {done} of {wanted}"
        )

    def judging(self, number: int, split: str, attack: str, standing: int, images: int) -> None:
        """Says how far a judgement is when nothing else was said for a while."""
        if time.monotonic() - self._last > QUIET_SECONDS:
            self.event(f"judging {number:04d} on {split}: {standing} of {images} stand after {attack}")

    def judged(self, number: int, split: str, judged: Judged) -> None:
        """A trial has been judged in full."""
        name = "AutoAttack" if judged.autoattack else judged.version
        where = "test" if split == "test" else "selection set"
        self.event(
            f"judged {number:04d} on {judged.images} images of the {where}: clean {judged.clean_accuracy:.1%}, "
            f"{name} {judged.robust_accuracy:.1%}  {judged.seconds:.1f} s"
        )

    def skipped(self, number: int, skipped: Skipped) -> None:
        """A trial needs no further judging."""
        after = f"after {skipped.after}" if skipped.after else "before any attack"
        self.event(
            f"judging {number:04d} ends {after}: at best {skipped.bound / skipped.images:.1%} robust, "
            f"trial {skipped.dominator:04d} is better"
        )

    def members(self, event: Members) -> None:
        """The frontier is fixed."""
        listed = ", ".join(f"{n:04d}" for n in event.trials)
        opened = f"; reading test for {len(event.opened)}" if event.opened else ""
        self.event(f"frontier of {len(event.trials)} fixed: {listed}{opened}")


def _accuracies(values: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {values[key]:.1%}"
        for name, key in (("clean", "clean_accuracy"), ("robust", "robust_accuracy"))
        if key in values
    ]
    return ": " + ", ".join(shown) if shown else ""


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
