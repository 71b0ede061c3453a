"""Curves for TensorBoard: `tensorboard --logdir RESULTS/NAME/tensorboard`."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from pathlib import Path

from tensorboardX import SummaryWriter

from sweeps.listeners.tracking import Numbers
from sweeps.record import TrialRecord

SWEEP = "sweep"
OPEN = 64
"""Files held open at a time: a sweep may have thousands of trials."""


class Boards:
    """A folder of events per trial, 0007, and one of the sweep."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written yet."""
        self._folder = folder
        self._open: OrderedDict[str, SummaryWriter] = OrderedDict()

    def curve(self, trial: int, numbers: Numbers, epoch: int) -> None:
        """What a trial has measured after an epoch."""
        self._write(f"{trial:04d}", {f"train/{name}": value for name, value in numbers.items()}, epoch)

    def judged(self, trial: int, numbers: Numbers) -> None:
        """What the judge has found of a trial."""
        self._write(f"{trial:04d}", {f"judged/{name}": value for name, value in numbers.items()}, 0)

    def ended(self, trial: TrialRecord, numbers: Numbers) -> None:
        """A trial has an outcome: its options and what they came to, for the table and the plots of hyperparameters."""
        name = f"{trial.number:04d}"
        writer = self._writer(name)
        about = [f"outcome: {trial.outcome}"] + ([f"cause: {trial.cause}"] if trial.cause else [])
        writer.add_text("trial", "  \n".join(about))
        options = {
            key: value if isinstance(value, bool | int | float) else str(value) for key, value in trial.params.items()
        }
        if numbers:
            writer.add_hparams(
                options, {f"end/{key}": value for key, value in numbers.items()}, name=".", global_step=0
            )
        self._open.pop(name).close()

    def sweep(self, numbers: Numbers, seconds: int) -> None:
        """What is known of the whole sweep."""
        self._write(SWEEP, numbers, seconds)
        self._writer(SWEEP).flush()

    def close(self) -> None:
        """Everything is on disk."""
        while self._open:
            self._open.popitem()[1].close()

    def _write(self, name: str, numbers: Numbers, step: int) -> None:
        writer = self._writer(name)
        for key, value in numbers.items():
            writer.add_scalar(key, value, step)

    def _writer(self, name: str) -> SummaryWriter:
        if name not in self._open:
            if len(self._open) >= OPEN:
                self._open.popitem(last=False)[1].close()
            # a name of its own: by the library's, which is the second, a file opened twice in one would be emptied
            suffix = f".{uuid.uuid4().hex[:8]}"
            self._open[name] = SummaryWriter(
                str(self._folder / name), max_queue=100, flush_secs=10, filename_suffix=suffix
            )
        self._open.move_to_end(name)
        return self._open[name]
