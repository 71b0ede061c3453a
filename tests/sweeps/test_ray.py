"""The same sweep on Ray Tune: same results, and the same survival of kills. Starts local clusters: `make test-cluster`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import analysis
from sweeps import record
from sweeps.record.lock import INSIDE
from tests.sweeps.actors import kill_actors
from tests.sweeps.small import facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
LONGER = ("trial.schedule.epochs=20", "search.trials=8")  # else it is over before it can be killed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sweep on the local backend."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder, *LONGER), folder / "small")
    return facts(folder / "small")


def _command(folder: Path, *more: str) -> subprocess.Popen[str]:
    """`run_sweep.py` as a user runs it, in a process group of its own."""
    small_sweep(folder)
    longer = [word for override in LONGER for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", "--results", ".", *longer, *more]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_ray_gives_what_local_gives_and_says_so_in_plain_lines(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = _command(tmp_path)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert facts(tmp_path / "small") == undisturbed
    assert (tmp_path / "small" / "report" / "index.html").exists()
    strange = [line for line in said.splitlines() if "ray::" in line or "(raylet)" in line or "Traceback" in line]
    assert not strange
    assert "8 of 8" in said
    kept = {path.name for path in (tmp_path / "small").iterdir()}
    ours = {
        "sweep.yaml",
        record.JOURNAL,
        "ledger.csv",
        "lives.csv",
        "trials",
        "judgements",
        "report",
        "events.log",
        "output.log",
        "status.json",
        INSIDE,
    }
    assert kept == ours, "nothing of Tune's"


def test_a_killed_driver_loses_nothing(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    chance = random.Random(1)
    folder = tmp_path / "small"
    for _ in range(3):
        process = _command(tmp_path)
        before = set(folder.glob("trials/*/metrics.csv"))
        wait_for(lambda seen=before: set(folder.glob("trials/*/metrics.csv")) != seen, process)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not (folder / "report").exists(), "killed before its end"
    process = _command(tmp_path)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert facts(folder) == undisturbed
    assert sorted(path.name for path in (folder / "trials").iterdir()) == [f"{n:04d}" for n in range(8)]


def test_a_killed_worker_costs_no_more_than_the_steps_since_its_checkpoint(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    process = _command(tmp_path)
    folder = tmp_path / "small"
    wait_for(lambda: bool(list(folder.glob("trials/*/metrics.csv"))), process)
    assert kill_actors(process.pid)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    assert facts(folder) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, undisturbed: dict[str, Any], number: signal.Signals
) -> None:
    process = _command(tmp_path)
    folder = tmp_path / "small"
    wait_for(lambda: bool(list(folder.glob("trials/*/metrics.csv"))), process)
    os.kill(process.pid, number)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130, said
    assert (
        f"go on with: python {ROOT / 'run_sweep.py'} small.yaml --results . --set trial.schedule.epochs=20"
        in said.splitlines()[-1]
    )
    assert "Traceback" not in said
    assert run_quietly(small_sweep(tmp_path, *LONGER), folder), "any backend goes on"
    assert facts(folder) == undisturbed


@pytest.mark.long
def test_a_head_that_is_gone_ends_a_sweep_in_a_line(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    process = _command(tmp_path)
    folder = tmp_path / "small"
    wait_for(lambda: bool(list(folder.glob("trials/*/metrics.csv"))), process)
    children = psutil.Process(process.pid).children(recursive=True)
    (head,) = [each for each in children if each.name().startswith("gcs_server")]
    head.kill()
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 2, said
    assert said.strip().splitlines()[-1] == (
        "error: the head of the local Ray is gone; what was reported is kept, and the same command goes on"
    )
    assert "Traceback" not in said
    _, left = psutil.wait_procs(children, timeout=120)
    assert not left
    assert run_quietly(small_sweep(tmp_path, *LONGER), folder), "any backend goes on"
    assert facts(folder) == undisturbed


def test_the_hooks_of_ray_tune_come_in_the_order_we_rely_on(tmp_path: Path) -> None:
    """It is Ray's to change: a result with `done` reaches the searcher alone, a stopped trial both."""
    script = ROOT / "tests" / "sweeps" / "hook_order.py"
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 0, said.stderr
    assert said.stdout.split("\n")[-2] == (
        "0 suggest, 0 report 1, 0 report 2, 0 finish complete, 1 suggest, 1 report 1, 1 stop, 1 finish stopped, "
        "2 suggest, 2 finish failed"
    )


def test_the_shipped_sweep_tells_its_story(tmp_path: Path) -> None:
    """What the header of search_spaces/trades_beta.yaml promises, on this machine: the main job, whole."""
    space = ROOT / "search_spaces" / "trades_beta.yaml"
    command = [sys.executable, str(ROOT / "run_sweep.py"), str(space)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    df = analysis.load(tmp_path / "results" / "trades_beta")
    assert len(df) == 24
    assert set(df["status"]) == {"complete"}
    members = df[df["member"]].sort_values("judged_clean_accuracy")
    assert bool(members["autoattack"].all())
    assert members["judged_robust_accuracy"].max() - members["judged_robust_accuracy"].min() >= 0.10
    assert members["judged_clean_accuracy"].max() - members["judged_clean_accuracy"].min() >= 0.05
    robust, clean = members.iloc[0], members.iloc[-1]
    for better, worse, name in ((clean, robust, "clean"), (robust, clean, "robust")):
        assert better[f"test_{name}_accuracy_low"] > worse[f"test_{name}_accuracy_high"], "their ends are apart"
    assert set(members["test_images"]) == {497}
    assert set(members["judged_images"]) == {400}
