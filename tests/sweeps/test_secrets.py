"""What a sweep writes holds nothing of the environment it runs in, and says who else may write there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.record import shared
from tests.sweeps.small import SPACE

CANARY = "canary-5f2c9e7b1d"
NAMES = ("ROBUSTRAY_CANARY", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD", "HF_TOKEN")
SCRIPT = """
def net(config):
    from torch import nn
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def train(config, report, checkpoint):
    report(epoch=1, loss=1.0)
    raise RuntimeError("no such thing")
"""
FAILS = """
name: small
judge: {data: {name: digits, validation: 400}, threat: {eps: 0.1}, version: [apgd-ce], images: {validation: 20, test: 20}}
trial: {script: {train: "fails.py:train", model: "fails.py:net", config: {lr: {uniform: [0, 1]}}}}
search: {trials: 2}
listeners: [prometheus, tensorboard]
"""


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("space", "backend"),
    [(FAILS, "local"), (f"{SPACE}listeners: [prometheus, tensorboard]\n", "ray")],
    ids=["fails", "on Ray"],
)
def test_secrets_of_the_environment_are_in_nothing_that_a_sweep_writes(
    tmp_path: Path, space: str, backend: str
) -> None:
    (tmp_path / "fails.py").write_text(SCRIPT)
    (tmp_path / "small.yaml").write_text(space)
    done = subprocess.run(
        [sys.executable, "-m", "run_sweep", "small.yaml", "--backend", backend, "--verbose"],
        cwd=tmp_path,
        env={**os.environ, **dict.fromkeys(NAMES, CANARY), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        timeout=280,
        check=False,
    )
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert {"status.json", "metrics.prom", "events.log", "study.journal"} <= {path.name for path in written}
    assert done.returncode == (4 if space is FAILS else 0), done.stderr
    holders = [str(path) for path in written if CANARY.encode() in path.read_bytes()]
    assert not holders
    assert CANARY.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize(("mode", "said"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_folder_that_everybody_may_write_to_is_named(tmp_path: Path, mode: int, said: bool) -> None:
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    assert shared.warning(folder) is None
    folder.chmod(mode)
    assert (shared.warning(folder) is not None) == said
    folder.chmod(0o755)
    folder.parent.chmod(mode)  # whoever may rename the folder has it
    assert (shared.warning(folder) is not None) == said
    folder.rmdir()
    assert (shared.warning(folder) is not None) == said
