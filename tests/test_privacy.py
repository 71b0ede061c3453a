"""Nobody is called whom the user did not call: every Python process of a sweep runs under a guard of its connections."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps.small import SPACE

ROOT = Path(__file__).parents[1]
CALLED_OUT = 99
GUARD = f"""
import os, sys

def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if host not in (None, "", b"", "localhost", b"localhost", "127.0.0.1", "::1"):
        os.write(2, f"called out: {{event}} {{host}}\\n".encode())
        os._exit({CALLED_OUT})  # an exception could be swallowed

sys.addaudithook(guard)
"""


def guarded(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a folder where it, and every Python that it starts, leaves at the first call to another machine."""
    (folder / "guard").mkdir(exist_ok=True)
    (folder / "guard" / "sitecustomize.py").write_text(GUARD)
    environment = os.environ | {"PYTHONPATH": str(folder / "guard")}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize(
    "call",
    [
        "socket.create_connection(('192.0.2.1', 9), 1)",
        "socket.getaddrinfo('example.org', 80)",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 9))",
        "subprocess.run([sys.executable, '-c', 'import urllib.request as u; u.urlopen(\"http://192.0.2.1\")'], check=True)",
    ],
)
def test_the_guard_sees_calls(tmp_path: Path, call: str) -> None:
    done = guarded(tmp_path, "-c", f"import socket, subprocess, sys\n{call}")
    assert done.returncode != 0
    assert "called out: socket." in done.stderr


def test_the_guard_lets_this_machine_talk_to_itself(tmp_path: Path) -> None:
    talk = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert guarded(tmp_path, "-c", talk).returncode == 0


@pytest.mark.parametrize("url", ["http://192.0.2.1/copy", "s3://bucket/copy", "http://127.0.0.1:9/copy"])
def test_a_folder_of_somebody_else_makes_nobody_call(tmp_path: Path, url: str) -> None:
    """It names a copy that its checkpoints would be brought from, with the credentials of whoever opens it."""
    home = tmp_path / "given" / "trials" / "0000"
    home.mkdir(parents=True)
    (home / ".elsewhere").write_text(json.dumps({"url": url, "up": 2, "files": {"trials/0000/last.pt": 6}}))
    bring = f"from sweeps.storage import fetching; from pathlib import Path; fetching.bring_all(Path({str(home.parents[1])!r}))"
    done = guarded(tmp_path, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {bring}")
    assert done.returncode == 1
    assert f"names the copy {url}, which you have not named on this machine" in done.stderr.splitlines()[-1]


@pytest.mark.e2e
def test_a_sweep_calls_nobody(tmp_path: Path) -> None:
    """Training, judging, reading test, and the report."""
    (tmp_path / "small.yaml").write_text(SPACE)
    arguments = ["--backend", "local", "--trials", "1", "--set", "trial.schedule.epochs=1"]
    done = guarded(tmp_path, str(ROOT / "run_sweep.py"), "small.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    assert "called out" not in done.stderr
    assert (tmp_path / "results" / "small" / "report" / "index.html").exists()


@pytest.mark.e2e
def test_judging_one_model_calls_nobody(tmp_path: Path) -> None:
    """An attack in processes of its own."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    flags = [
        "--data",
        "digits",
        "--eps",
        "0.1",
        "--version",
        "apgd-ce",
        "--images",
        "20",
        "--device",
        "cpu,cpu",
        "--batch",
        "10",
    ]
    done = guarded(tmp_path, "-m", "robustray", "judge", "net.py:net", *flags)
    assert done.returncode == 0, done.stderr
    assert "called out" not in done.stderr


def test_ray_sends_no_usage_statistics(tmp_path: Path) -> None:
    """As Ray itself reads its settings, whatever the user's environment and home say."""
    asked = (
        "import sweeps.running.ray\nfrom ray._common.usage import usage_lib\n"
        "print(usage_lib.usage_stats_enabled(), usage_lib.usage_stats_prompt_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_USAGE_STATS_ENABLED": "1", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "False"
