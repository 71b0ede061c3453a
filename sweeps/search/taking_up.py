"""Trials that a spent budget has stopped, and that a larger one may take up again beside new ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeps.record import Record, TrialRecord, budgets
from sweeps.search.progress import Progress
from sweeps.space import Sweep

GIVEN_UP = "others promise more"
"""How the cause begins of a trial that was stopped for good, whose states are deleted."""


@dataclass(frozen=True)
class Waiting:
    """How many trials wait again, and how many of those that were stopped have nothing to go on from."""

    again: int = 0
    without: int = 0

    def __str__(self) -> str:
        """In a line; "" where none waits again."""
        if not self.again:
            return ""
        were = "trial that was" if self.again == 1 else "trials that were"
        line = f"{self.again} {were} stopped when the budget was spent may go on"
        return (
            f"{line}; {self.without} {'has' if self.without == 1 else 'have'} no checkpoint" if self.without else line
        )


def take_back(sweep: Sweep, record: Record, kept: Callable[[int], bool]) -> Waiting:
    """Lets the trials wait again that were stopped while they waited when the budget was spent, where there is more of it now.

    It is written down before anything is decided, so that every decision is a function of the record: whether a state is there
    is asked once. A trial that was only looked at begins anew, and needs none.

    Args:
        kept: whether a trial has a state to go on from.
    """
    stopped = [trial for trial in record.trials() if _waited(trial)]
    if not stopped or budgets.ended(sweep.budget.model_dump(), record.snapshot()) is not None:
        return Waiting()
    if Progress(sweep, record).spent >= sweep.trials:
        return Waiting()
    again = [trial.number for trial in stopped if trial.looked_only or kept(trial.number)]
    record.take_back(again)
    return Waiting(len(again), len(stopped) - len(again))


def _waited(trial: TrialRecord) -> bool:
    """Whether it was stopped at a rung, and not for good."""
    given_up = (trial.cause or "").startswith(GIVEN_UP)
    return trial.outcome == "stopped" and trial.sent is not None and bool(trial.rungs) and not given_up
