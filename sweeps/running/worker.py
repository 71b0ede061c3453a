"""What runs in a worker, whatever backend started it: one job, step by step. Knows neither Ray nor Optuna."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sweeps.running.tasks.base import Report, Task
from sweeps.running.tasks.derive import DeriveTask
from sweeps.running.tasks.explain import ExplainTask
from sweeps.running.tasks.judge import JudgeTask, ProbeTask
from sweeps.running.tasks.packed import MeasureTask
from sweeps.running.tasks.train import TrainTask

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
    return _Timed(_KINDS[work["kind"]](work))


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
