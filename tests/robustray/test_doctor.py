"""The doctor looks at this machine as it is, and at one that is made worse."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from robustray.commands import doctor
from robustray.commands.doctor import Finding


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("ROBUSTRAY_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def found() -> dict[str, Finding]:
    """What is found now; where a check has several findings, its last."""
    return {finding.what: finding for finding in doctor.findings(ray=False)}


def test_the_command(tmp_path: Path) -> None:
    """Two packages of our names lie in the way; a folder without __init__.py is in nobody's."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").touch()
    (tmp_path / "sweeps").mkdir()
    command = [sys.executable, "-m", "robustray", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr == ""
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert len(wrong) == 1
    assert f"is {tmp_path / 'analysis'}, not the one in " in wrong[0]
    assert {path.name for path in tmp_path.iterdir()} == {"analysis", "sweeps"}


def test_this_machine_can_sweep(tmp_path: Path) -> None:
    now = found()
    assert "wrong" not in {finding.state for finding in now.values()}
    assert {"python", "packages", "cores", "memory", "working directory", "disk", "data", "ports"} <= set(now)
    assert now["python"].told.startswith(".".join(map(str, sys.version_info[:3])))
    assert "digits" in now["data"].told.partition(";")[0]
    assert str(tmp_path) in now["working directory"].told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that nobody can write")
def test_a_working_directory_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    assert found()["working directory"].state == "wrong"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that nobody can write")
def test_homes_and_caches_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    now = found()
    assert (now["home"].state, "cache" in now) == ("ok", False)
    monkeypatch.setenv("HOME", "/proc/self")
    assert found()["home"].state == "advice"
    assert "/proc/self cannot be written" in found()["home"].told
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/self/cache")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert found()["cache"].told.startswith("/proc/self/cache/robustray cannot be written")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", "/proc/self/torch")
    assert "set TORCH_HOME" in found()["cache"].told


@pytest.mark.parametrize(
    ("settings", "state", "said"),
    [
        ({"PYTHONUTF8": "1"}, "ok", "UTF-8"),
        ({"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, "advice", "names of files are"),
        ({"PYTHONUTF8": "1", "PYTHONIOENCODING": "latin-1"}, "advice", "output is iso8859-1|output is latin-1"),
    ],
)
def test_how_text_is_written(settings: dict[str, str], state: str, said: str) -> None:
    look = (
        "from robustray.commands import surroundings; print(*dict((s[0], s) for s in surroundings.findings())['text'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **settings},
    )
    assert done.stdout.startswith(f"text {state} ")
    assert re.search(said, done.stdout)


def test_a_home_that_was_lent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "robustray-7").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "robustray-7"))
    assert found()["home"].told.startswith("there is none, what is kept in one lies in ")


@pytest.mark.parametrize("wrong", ["100000", "many"])
def test_threads_that_hurt(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", wrong)
    assert found()["threads"].state == "advice"
    assert f"OMP_NUM_THREADS is '{wrong}'" in found()["threads"].told
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert "threads" not in found()


def test_gpus_are_shared_at_the_same_time_where_mps_is_reached(tmp_path: Path) -> None:
    pipes = tmp_path / "nvidia-mps"
    assert doctor.mps(True, pipes, True).state == "advice"
    assert "CUDA_MPS_PIPE_DIRECTORY" in doctor.mps(True, pipes, True).told
    assert f"`{doctor.MPS} -d`" in doctor.mps(False, pipes, True).told
    assert doctor.mps(False, pipes, False).state == "ok"
    pipes.mkdir()
    (pipes / "control").touch()
    assert doctor.mps(True, pipes, True) == Finding(
        "CUDA MPS", "ok", "runs: trials that share a GPU use it at the same time"
    )
    assert "left over" in doctor.mps(False, pipes, True).told


def test_data_is_found_where_it_lies(tmp_path: Path) -> None:
    assert "svhn" in found()["data"].told.partition("; not here: ")[2]
    (tmp_path / "data" / "svhn").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "data" / "svhn" / f"{split}.npz").touch()
    assert "svhn" in found()["data"].told.partition("; not here: ")[0]


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert found()["RAY_ADDRESS"].state == "wrong"
        assert f"nothing answers on {address}" in found()["RAY_ADDRESS"].told
        closed.listen()
        assert found()["RAY_ADDRESS"].state == "ok"


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken, contextlib.suppress(OSError):  # where somebody else has it, that is as good
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", doctor.DASHBOARD))
        taken.listen()
        assert found()["ports"].state == "advice"
    assert f"{doctor.DASHBOARD} is " in found()["ports"].told


def test_a_ray_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('half installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert doctor.started(60) == Finding("ray", "wrong", "a local Ray does not start: ImportError: half installed")
    (tmp_path / "ray.py").write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
                                     "time.sleep(600)\n")  # fmt: skip
    given_up = doctor.started(2)
    assert given_up.state == "wrong"
    assert "no local Ray within 2 s" in given_up.told
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.cluster
def test_a_ray_that_starts() -> None:
    assert doctor.started(120) == Finding("ray", "ok", "a local Ray starts and runs a task")
