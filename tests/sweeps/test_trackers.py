"""MLflow and Weights & Biases for real, where they are installed (make test-trackers). Nothing leaves the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.listeners.tracking import Tracking
from tests.sweeps.test_listeners import tell

NAME = "small"


@pytest.mark.cluster
def test_runs_are_kept_in_mlflow_and_found_again_by_the_next_life(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    from sweeps.listeners.mlflow import Runs, place

    for _ in range(2):
        tell(Tracking(Runs(NAME, tmp_path, None, NAME)))
    client = MlflowClient(place(tmp_path))
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {NAME, "trial 0007"}
    trial = runs["trial 0007"]
    assert trial.data.params == {"defense": "trades", "schedule.lr": "0.1"}
    assert trial.data.metrics["robust_accuracy"] == 0.4
    assert trial.data.metrics["validation.robust_accuracy"] == 0.3
    assert trial.data.tags["mlflow.parentRunId"] == runs[NAME].info.run_id
    assert trial.info.status == "FINISHED"
    assert runs[NAME].data.metrics["hypervolume"] == 0.36


@pytest.mark.cluster
def test_runs_are_kept_for_weights_and_biases_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    from sweeps.listeners.wandb import Runs

    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        tell(Tracking(Runs(NAME, tmp_path, NAME, "offline")))
    kept = {path.stem.rpartition("-")[2] for path in (tmp_path / "wandb").glob("offline-run-*/*.wandb")}
    assert kept == {"sweep", "0007"}
