"""Fractions of GPUs on a cluster that says it has some: this code never needs a device to hand out shares of one."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps import record
from sweeps.record import status as statuses
from tests.sweeps.small import SPACE

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """The environment of a head with four CPUs, and two GPUs that nobody has ever seen."""
    with socket.create_server(("127.0.0.1", 0)) as free, tempfile.TemporaryDirectory(prefix="rg-", dir="/tmp") as there:
        port = free.getsockname()[1]
        free.close()
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
        env |= {"RAY_raylet_start_wait_time_s": "120", "OMP_NUM_THREADS": "1"}
        start = f"start --head --port={port} --node-ip-address=127.0.0.1 --num-cpus=4 --num-gpus=2 --include-dashboard=false"
        with subprocess.Popen(
            [*RAY, *start.split(), f"--temp-dir={there}", "--object-store-memory=80000000", "--block"],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as head:
            try:
                begun = Path(there) / "ray_current_cluster"  # written when its node is there
                while not begun.exists() or not begun.read_text().strip():
                    assert head.poll() is None
                    time.sleep(0.2)
                yield env | {"RAY_ADDRESS": f"127.0.0.1:{port}"}
            finally:
                head.terminate()
                head.wait(60)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_jobs_share_gpus_by_the_fractions_that_they_ask_for(tmp_path: Path, cluster: dict[str, str]) -> None:
    (tmp_path / "small.yaml").write_text(SPACE)
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", "--trials", "2"]
    command += ["--set", "resources={cpus: 0.5, gpus: 0.5}", "--set", "judge.trials=none"]
    done = subprocess.run(command, cwd=tmp_path, env=cluster, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "results" / "small"
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete"] * 2
    status = statuses.read(folder)
    assert status is not None
    assert status.slots == 4, "two on each GPU, though there are CPUs for eight"
    asks = [*command, "--fresh", "--set", "resources.gpus=3"]
    refused = subprocess.run(asks, cwd=tmp_path, env=cluster, capture_output=True, text=True, timeout=500, check=False)
    assert refused.returncode == 2
    assert "no job fits on one node: each takes" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
