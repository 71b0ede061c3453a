"""What runs in a worker, whatever backend started it: one job, step by step. Knows neither Ray nor Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from sweeps.running.tasks.base import Report, Task, failed
from sweeps.running.tasks.derive import DeriveTask
from sweeps.running.tasks.explain import ExplainTask
from sweeps.running.tasks.judge import JudgeTask, ProbeTask
from sweeps.running.tasks.packed import MeasureTask
from sweeps.running.tasks.train import TrainTask
from sweeps.storage import fetching

_KINDS: dict[str, Callable[[Mapping[str, Any]], Task]] = {
    "train": TrainTask,
    "derive": DeriveTask,
    "judge": JudgeTask,
    "probe": ProbeTask,
    "measure": MeasureTask,
    "explain": ExplainTask,
}


def open_task(work: Mapping[str, Any]) -> Task:
    """The task of a job. Touches nothing on disk: that is the first step's business (a ghost actor may open it too)."""
    return _Timed(_Complete(_KINDS[work["kind"]](work), work))


class _Complete:
    """A task whose trial's folder is made whole before its first step: checkpoints may have stayed in a copy."""

    def __init__(self, task: Task, work: Mapping[str, Any]) -> None:
        self._task = task
        self._home: Path | None = Path(work["folder"])
        self.interrupt = task.interrupt

    def step(self) -> Report:
        if self._home is not None:
            try:
                fetching.bring(self._home)
            except UserError as error:
                return failed(str(error))
            self._home = None
        return self._task.step()


class _Timed:
    """A task whose reports say how long this process has worked on it."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._seconds = 0.0

    def step(self) -> Report:
        begun = time.monotonic()
        try:
            report = self._task.step()
        finally:
            self._seconds += time.monotonic() - begun
        return {**report, "device_seconds": self._seconds}

    def interrupt(self) -> bool:
        return self._task.interrupt()
