"""A run per trial in MLflow, below a run of the sweep. Runs of an earlier life of the driver are found again by their tags."""

from __future__ import annotations

import importlib.util
import os
import time
from pathlib import Path
from typing import Any

from sweeps.listeners.tracking import Numbers
from sweeps.record import TrialRecord

_AT_ONCE = 100  # options that MLflow takes in one call
_LONGEST = 500  # characters of a value
TAG = "robustray.trial"
SWEEP = "robustray.sweep"


def place(folder: Path) -> str:
    """Where MLflow tracks by default: a database in the sweep's folder, or files where it has none installed."""
    folder = folder.resolve()
    return f"sqlite:///{folder}/mlflow.db" if importlib.util.find_spec("sqlalchemy") else (folder / "mlruns").as_uri()


class Runs:
    """Runs in one experiment."""

    def __init__(self, name: str, folder: Path, uri: str | None, experiment: str) -> None:
        """Opens the experiment, made where it is not there.

        Args:
            name: of the sweep. folder: of its results. uri: where MLflow tracks.
        """
        if uri is None:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri or place(folder))
        found = self._client.get_experiment_by_name(experiment)
        self._experiment = self._client.create_experiment(experiment) if found is None else found.experiment_id
        self._where = str(folder.resolve())
        self._known = self._before()
        self._parent = self._run(SWEEP, name)

    def curve(self, trial: int, numbers: Numbers, epoch: int) -> None:
        """What a trial has measured after an epoch."""
        self._log(self._run(str(trial), f"trial {trial:04d}"), numbers, epoch)

    def judged(self, trial: int, numbers: Numbers) -> None:
        """What the judge has found of a trial."""
        self._log(self._run(str(trial), f"trial {trial:04d}"), {k.replace("/", "."): v for k, v in numbers.items()}, 0)

    def ended(self, trial: TrialRecord, numbers: Numbers) -> None:
        """A trial has an outcome."""
        from mlflow.entities import Param

        run = self._run(str(trial.number), f"trial {trial.number:04d}")
        options = [Param(key, str(value)[:_LONGEST]) for key, value in trial.params.items()]
        for start in range(0, len(options), _AT_ONCE):
            self._client.log_batch(run, params=options[start : start + _AT_ONCE])
        self._log(run, {f"end.{key}": value for key, value in numbers.items()}, 0)
        self._client.set_tag(run, "outcome", str(trial.outcome))
        if trial.cause:
            self._client.set_tag(run, "cause", trial.cause)
        self._client.set_terminated(run, "FINISHED" if trial.outcome in ("complete", "stopped") else "FAILED")

    def sweep(self, numbers: Numbers, seconds: int) -> None:
        """What is known of the whole sweep."""
        self._log(self._parent, numbers, seconds)

    def close(self) -> None:
        """The run of the sweep ends with this life of the driver."""
        self._client.set_terminated(self._parent, "FINISHED")

    def _log(self, run: str, numbers: Numbers, step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(run, metrics=[Metric(key, value, now, step) for key, value in numbers.items()])

    def _run(self, key: str, name: str) -> str:
        if key not in self._known:
            tags: dict[str, Any] = {TAG: key, SWEEP: self._where}
            if key != SWEEP:
                tags["mlflow.parentRunId"] = self._known[SWEEP]
            self._known[key] = self._client.create_run(self._experiment, tags=tags, run_name=name).info.run_id
        return self._known[key]

    def _before(self) -> dict[str, str]:
        """The runs of this folder, by tag."""
        found: dict[str, str] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            of_here = [run for run in page if run.data.tags.get(SWEEP) == self._where]
            found |= {run.data.tags[TAG]: run.info.run_id for run in of_here if TAG in run.data.tags}
            token = page.token
            if not token:
                return found
