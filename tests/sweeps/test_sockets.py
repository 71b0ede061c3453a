"""Every socket on which a running sweep and its Ray listen, opened: none answers beyond loopback, none gives control away."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sweeps.record import status as statuses
from tests.sweeps.small import SPACE
from tests.sweeps.sockets import Listening, given_away, listening, speaks_grpc

ROOT = Path(__file__).parents[2]
CONTROL = ("/api/version", "/nodes", "/api/jobs/", "/api/v0/tasks", "/logs")
"""What Ray's dashboard and agents answer to whoever has the token: what runs, with which environment, and starting jobs."""


@pytest.mark.parametrize(
    ("address", "beyond"),
    [
        ("127.0.0.1", False), ("::1", False), ("::ffff:127.0.0.1", False), ("127.8.0.1", False),
        ("0.0.0.0", True), ("::", True), ("::ffff:10.0.0.7", True), ("10.0.0.7", True), ("fe80::1", True),
    ],
)  # fmt: skip
def test_who_reaches_an_address(address: str, beyond: bool) -> None:
    assert Listening(address, 1, "").beyond == beyond


def test_a_socket_of_this_process_is_found_and_opened() -> None:
    """Those that answer everybody are told from those that answer nobody."""
    serve = "import http.server as h; h.HTTPServer(('127.0.0.1', {}), h.SimpleHTTPRequestHandler).serve_forever()"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert ("127.0.0.1", port) in [(each.address, each.port) for each in listening(os.getpid())]
    process = subprocess.Popen([sys.executable, "-c", serve.format(port)], stderr=subprocess.DEVNULL)
    try:
        while not any(each.port == port for each in listening(process.pid)):
            assert process.poll() is None
            time.sleep(0.05)
        assert "/" in given_away(port)
        assert not speaks_grpc(port)
    finally:
        process.kill()
        process.wait()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_no_socket_of_a_sweep_is_open_beyond_this_machine_or_gives_control_away(tmp_path: Path) -> None:
    """While its workers train: the driver's, those of Ray's GCS, raylet, dashboard and agents, and the workers'."""
    (tmp_path / "small.yaml").write_text(f"{SPACE}listeners: {{prometheus: {{port: 0}}}}\n")
    folder = tmp_path / "results" / "small"
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", "--set", "trial.schedule.epochs=2000"]
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT)
    try:
        while (found := statuses.read(folder)) is None or not any(job.epoch for job in found.jobs):
            assert process.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.5)
        sockets = list(listening(process.pid))
        programs = " ".join(each.process for each in sockets)
        assert "gcs_server" in programs
        assert "raylet" in programs
        assert not [each for each in sockets if each.beyond]
        given = {each: given_away(each.port) for each in sockets}
        for each, told in given.items():
            for path in CONTROL:  # a server of metrics tells them whatever it is asked
                assert told.get(path, "# HELP").startswith("# HELP"), (each, path, told[path])
        assert any("robustray_driver" in told.get("/metrics", "") for told in given.values()), (
            "read as Prometheus reads it"
        )
    finally:
        process.terminate()
        assert process.wait(120) == 130
