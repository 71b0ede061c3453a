"""Trials that are paused at rungs on Ray Tune: jobs that end, and go on as others, wherever that is, and after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustray.errors import UserError
from robustray.training import Trainer
from robustray.trial import TrialConfig
from sweeps import record
from sweeps.record import Snapshot

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


def _driver(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.sweeps.paused_on_ray", str(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _read(folder: Path) -> Snapshot | None:
    try:
        return record.read(folder)
    except UserError:  # none yet, or half a line of it
        return None


def test_a_sweep_that_pauses_is_killed_and_goes_on(tmp_path: Path) -> None:
    folder, process = tmp_path / "small", _driver(tmp_path)
    while (known := _read(folder)) is None or not any(trial.paused for trial in known.trials):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    killed = _read(folder)
    assert killed is not None
    again = _driver(tmp_path)
    said = again.communicate(timeout=400)[0]
    assert again.returncode == 0, said
    states = said.splitlines()[-1].split()
    assert {"RUNNING", "TERMINATED"} <= set(states) <= {"PENDING", "RUNNING", "TERMINATED"}, "nothing is PAUSED on Ray"

    snapshot = record.read(folder)
    assert {trial.outcome for trial in snapshot.trials} == {"complete", "stopped"}
    for before, after in zip(killed.trials, snapshot.trials, strict=False):
        assert after.rungs[: len(before.rungs)] == before.rungs, "what was written down stays"
    whole = [trial for trial in snapshot.trials if trial.outcome == "complete"]
    assert set(snapshot.members[-1].trials) <= {trial.number for trial in whole}
    for trial in whole[:2]:
        assert [rung.epoch for rung in trial.rungs] == [3, 6, 12]
        there = folder / "trials" / f"{trial.number:04d}"
        config = TrialConfig.recorded((there / "trial.yaml").read_text(), there)
        undisturbed = Trainer(config, tmp_path / f"{trial.number}", device="cpu", threads=1)
        assert undisturbed.run()["weights"] == trial.weights, "bit for bit"
        assert undisturbed.history[2]["robust_accuracy"] == trial.rungs[0].metrics["robust_accuracy"]
