"""What runs in a worker, whatever backend started it: one job, step by step. Knows neither Ray nor Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from sweeps.running.tasks.base import Living, Report, Task, failed, gone
from sweeps.running.tasks.derive import DeriveTask
from sweeps.running.tasks.explain import ExplainTask
from sweeps.running.tasks.judge import JudgeTask, ProbeTask
from sweeps.running.tasks.packed import MeasureTask
from sweeps.running.tasks.train import TrainTask
from sweeps.running.watch import ALIVE, Watch
from sweeps.storage import fetching

_KINDS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "train": TrainTask,
    "derive": DeriveTask,
    "judge": JudgeTask,
    "probe": ProbeTask,
    "measure": MeasureTask,
    "explain": ExplainTask,
}

LOOSENED = 10.0
"""Seconds in which a step ends whose other processes have been ended."""


def open_task(
    work: Mapping[str, Any],
    hung: Callable[[float], None] | None = None,
    *,
    shown: bool = False,
    counted: Callable[[], None] | None = None,
) -> Task:
    """The task of a job. Touches nothing on disk: that is the first step's business (a ghost actor may open it too).

    Args:
        hung: what to do where it hangs, see `Watch`; without it nobody looks.
        shown: whether a driver elsewhere looks whether this process is frozen.
        counted: what to do once an attempt at the job is counted in its folder.
    """
    kind = _KINDS[work["kind"]](work)
    if counted is not None and isinstance(kind, Living):
        kind.counted = counted
    task = _Timed(kind, work.get("processes", 1))
    if hung is None or work.get("patience") is None:
        return _Complete(task, work)
    return _Complete(_Watched(task, work, hung, shown), work)


class _Watched:
    """A task that somebody looks after, where it gives signs of life."""

    def __init__(self, task: _Timed, work: Mapping[str, Any], hung: Callable[[float], None], shown: bool) -> None:
        self._task = task
        self._shown = Path(work["folder"]) / ALIVE if shown else None
        self._replaced = hung
        self._watch = Watch(work["patience"] if task.watched else None, self._hung, shown=self._shown)
        task.watch_by(self._watch)

    def step(self) -> Report:
        with self._watch.at_work():
            report = self._task.step()
        if report["done"] and self._shown is not None:
            self._shown.unlink(missing_ok=True)
        return report

    def interrupt(self) -> bool:
        return self._task.interrupt()

    def _hung(self, silent: float) -> None:
        """A step that waits for processes of its own may end by itself once those are gone."""
        if not (self._task.loosen(silent) and self._watch.ended(LOOSENED)):
            self._replaced(silent)


class _Complete:
    """A task whose trial's folder is made whole before its first step: checkpoints may have stayed in a copy."""

    def __init__(self, task: Task, work: Mapping[str, Any]) -> None:
        self._task = task
        self._home = Path(work["folder"]) if "folder" in work else None  # what is measured before a sweep has none
        self.interrupt = task.interrupt

    def step(self) -> Report:
        if self._home is not None:
            try:
                fetching.bring(self._home)
            except UserError as error:
                return {**failed(str(error)), "device_seconds": 0.0}
            if (lost := gone(self._home)) is not None:  # before anything is written in its place
                return {**lost, "device_seconds": 0.0}
            self._home = None
        return self._task.step()


class _Timed:
    """A task whose reports say how long this process has worked on it, and those that work with it."""

    def __init__(self, task: Task, processes: int) -> None:
        self._task = task
        self._processes = processes
        self._seconds = 0.0

    @property
    def watched(self) -> bool:
        """Whether the task gives signs of life."""
        return isinstance(self._task, Living) and self._task.lives

    def watch_by(self, watch: Watch) -> None:
        """Lets the task tell it of every sign of life."""
        if isinstance(self._task, Living):
            self._task.watch = watch

    def loosen(self, silent: float) -> bool:
        """Whether the task has ended what it may be waiting for, so that its step may end too."""
        return isinstance(self._task, Living) and self._task.loosen(silent)

    def step(self) -> Report:
        begun = time.monotonic()
        try:
            report = self._task.step()
        finally:
            self._seconds += self._processes * (time.monotonic() - begun)
        return {**report, "device_seconds": self._seconds}

    def interrupt(self) -> bool:
        return self._task.interrupt()
