"""What a sweep writes holds nothing of the environment it runs in, and says who else may write there."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import sweeps.__main__
from analysis import warned
from robustray.errors import UserError
from sweeps.record import JOURNAL, shared
from tests.sweeps.small import SPACE, run_quietly, small_sweep

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
    short = tempfile.mkdtemp(prefix="rs-", dir="/tmp")  # the names of Ray's sockets lie within, and may not be long
    places = {name: str(tmp_path / name) for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    for place in places.values():
        Path(place).mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "run_sweep", "small.yaml", "--backend", backend, "--verbose"],
        cwd=tmp_path,
        env={
            **os.environ,
            **dict.fromkeys(NAMES, CANARY),
            **places,
            "RAY_TMPDIR": short,
            "RAY_raylet_start_wait_time_s": "120",  # of a busy machine
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        timeout=280,
        check=False,
    )
    written = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert {"status.json", "metrics.prom", "events.log", "study.journal"} <= {path.name for path in written}
    assert done.returncode == (4 if space is FAILS else 0), done.stderr
    beside = [path for place in (*places.values(), short) for path in Path(place).rglob("*") if path.is_file()]
    assert backend == "local" or any("session_" in str(path) for path in beside), "logs of Ray"
    holders = [str(path) for path in (*written, *beside) if CANARY.encode() in path.read_bytes()]
    shutil.rmtree(short)
    assert not holders
    assert CANARY.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize(("mode", "said"), [(0o755, False), (0o775, False), (0o777, True), (0o1777, False)])
def test_a_folder_that_everybody_may_write_to_is_refused(
    tmp_path: Path, mode: int, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)

    def refused() -> bool:
        monkeypatch.delenv(shared.ALLOWED, raising=False)
        if shared.warning(folder) is None:
            shared.demand(folder)
            return False
        with pytest.raises(UserError, match=f"; chmod o-w {tmp_path}"):
            shared.demand(folder)
        monkeypatch.setenv(shared.ALLOWED, "allow")
        shared.demand(folder)
        return True

    assert not refused()
    folder.chmod(mode)
    assert refused() == said
    folder.chmod(0o755)
    folder.parent.chmod(mode)  # whoever may rename the folder has it
    assert refused() == said
    folder.rmdir()
    assert refused() == said


def test_a_folder_of_a_group_of_several_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    folder.chmod(0o2775)
    assert shared.warning(folder) is None, "a group of its owner's own name"
    group = grp.struct_group(("team", "x", os.getgid(), ["ada", "grace"]))
    monkeypatch.setattr(grp, "getgrgid", lambda number: group)
    assert "the group team may write here" in str(shared.warning(folder))
    shared.demand(folder)
    folder.chmod(0o3775)  # where each may touch his own alone
    assert shared.warning(folder) is None


@pytest.mark.parametrize(
    "command", [["status"], ["retry", "--failed"], ["repair", "--yes"], ["prune", "--yes"], ["derive", "soup"]]
)
def test_commands_do_not_work_in_a_folder_that_everybody_may_write_to(
    tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results" / "small"
    folder.mkdir(parents=True)
    (folder / JOURNAL).touch()
    folder.chmod(0o777)
    monkeypatch.setattr(sys, "argv", ["python -m sweeps", command[0], str(folder), *command[1:]])
    with pytest.raises(SystemExit) as left:
        sweeps.__main__.main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {folder}: every user of this machine may write here")
    assert len(said.splitlines()) == 1


def test_a_sweep_is_refused_in_a_folder_that_everybody_may_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(shared.ALLOWED, raising=False)
    tmp_path.chmod(0o777)
    with pytest.raises(UserError, match="every user of this machine may write here"):
        run_quietly(small_sweep(tmp_path, "search.trials=1", "trial.schedule.epochs=1"), tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_a_sweeps_warnings_are_in_its_report(tmp_path: Path) -> None:
    assert warned.lines(tmp_path) == []
    lines = (
        "2026-01-01 00:00:00+00:00  warning: the \x1b[31mcluster listens",
        "2026  other",
        "2027  warning: the cluster listens",
    )
    (tmp_path / "events.log").write_text("\n".join(lines))
    assert warned.lines(tmp_path) == ["Said while it ran: the cluster listens."]
