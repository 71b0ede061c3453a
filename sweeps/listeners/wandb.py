"""A run per trial for Weights & Biases, offline by default: `wandb sync RESULTS/NAME/wandb/offline-run-*` sends them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import wandb

from sweeps.listeners.tracking import Numbers
from sweeps.record import TrialRecord


class Runs:
    """Runs of one group."""

    def __init__(self, name: str, folder: Path, project: str, mode: str) -> None:
        """Begins the run of the sweep.

        Args:
            name: of the sweep. folder: of its results. mode: offline or online.
        """
        self._folder = folder
        self._shared: dict[str, Any] = {"project": project, "group": name, "dir": str(folder), "mode": mode}
        self._of_here = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]
        self._open: dict[int, Any] = {}
        self._sweep = self._begun("sweep", name, job_type="sweep")

    def curve(self, trial: int, numbers: Numbers, epoch: int) -> None:
        """What a trial has measured after an epoch."""
        self._run(trial).log(dict(numbers), step=epoch)

    def judged(self, trial: int, numbers: Numbers) -> None:
        """What the judge has found of a trial: the end of its run is long over, so the run is opened again."""
        run = self._run(trial)
        run.summary.update(dict(numbers))
        self._close(trial)

    def ended(self, trial: TrialRecord, numbers: Numbers) -> None:
        """A trial has an outcome."""
        run = self._run(trial.number)
        run.config.update({key: _plain(value) for key, value in trial.params.items()}, allow_val_change=True)
        run.summary.update({f"end/{key}": value for key, value in numbers.items()} | {"outcome": str(trial.outcome)})
        self._close(trial.number, exit_code=0 if trial.outcome in ("complete", "stopped") else 1)

    def sweep(self, numbers: Numbers, seconds: int) -> None:
        """What is known of the whole sweep."""
        self._sweep.log(dict(numbers), step=seconds)

    def close(self) -> None:
        """All runs end with this life of the driver."""
        for number in list(self._open):
            self._close(number)
        self._sweep.finish()

    def _run(self, trial: int) -> Any:
        if trial not in self._open:
            self._open[trial] = self._begun(f"{trial:04d}", f"trial {trial:04d}", job_type="trial")
        return self._open[trial]

    def _close(self, trial: int, exit_code: int = 0) -> None:
        self._open.pop(trial).finish(exit_code=exit_code)

    def _begun(self, key: str, name: str, **more: Any) -> Any:
        asked = wandb.Settings(console="off", silent=True, x_disable_stats=True, disable_git=True, save_code=False)
        return wandb.init(
            id=f"{self._of_here}-{key}",
            name=name,
            resume="allow",
            reinit="create_new",
            settings=asked,
            **self._shared,
            **more,
        )


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
