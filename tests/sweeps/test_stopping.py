"""A sweep that is stopped as terminals and schedulers do it, by a signal to its whole process group: nothing is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from robustray.errors import Paused
from robustray.training import checkpoints
from sweeps import record
from sweeps.driver import BackendName
from sweeps.running import stop_file
from sweeps.running.stop_file import PAUSED, StopFile, asked, asking, heeding
from sweeps.running.tasks.base import Report
from tests.sweeps.small import facts, run_quietly, small_sweep
from tests.sweeps.waiting import wait_for

ROOT = Path(__file__).parents[2]
STEPS = (
    "search.trials=2",
    "trial.batch.size=2",
    "trial.schedule.epochs=1",
    "trial.checkpoints.minutes=600",
    "trial.attack.steps=12",
)  # long epochs, none saved inside
BACKENDS = [pytest.param("ray", marks=pytest.mark.cluster), pytest.param("local", marks=pytest.mark.faults)]


@contextmanager
def commanded(folder: Path, backend: BackendName, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """`run_sweep.py` as a user runs it, in a process group of its own."""
    small_sweep(folder)
    changed = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, str(ROOT / "run_sweep.py"), "small.yaml", "--results", ".", "--backend", backend]
    process = subprocess.Popen(
        [*command, *changed],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The driver and all that it started."""
    driver = psutil.Process(process.pid)
    return [driver, *driver.children(recursive=True)]


def training(folder: Path, trials: int = 1) -> bool:
    """Whether so many trials have begun their first epoch."""
    return sum("at epoch 0" in path.read_text() for path in folder.glob("small/trials/*/log.txt")) >= trials


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder, *STEPS), folder / "small")
    return facts(folder / "small")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_to_the_group_keeps_every_step(
    tmp_path: Path, undisturbed: dict[str, Any], backend: BackendName, number: signal.Signals
) -> None:
    """Checkpoints inside an epoch, of every trial at work; nobody dies of the signal; then the undisturbed bits."""
    folder = tmp_path / "small"
    with commanded(tmp_path, backend, *STEPS) as process:
        # on Ray both: the quicker one may be through before the other, which is slow, has found a worker
        wait_for(lambda: training(tmp_path, 2 if backend == "ray" else 1), process)
        time.sleep(0.5)
        started = family(process)
        os.killpg(process.pid, number)
        os.killpg(process.pid, number)  # its echo
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    last = said.splitlines()[-1]
    assert last.startswith(f"Stopped: every step and every whole shard is kept; go on with: python {ROOT}/run_sweep.py")
    assert "Traceback" not in said
    psutil.wait_procs(started, timeout=60)
    assert not [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert not (folder / stop_file.NAME).exists()

    begun = [path.parent for path in folder.glob("trials/*/log.txt") if "at epoch 0" in path.read_text()]
    inside = [checkpoints.load(trial / "last.pt")["batch_in_epoch"] for trial in begun]
    assert inside
    assert any(inside), "in the middle of an epoch, where no other checkpoint is written"  # another may just have begun
    outcomes = {trial.outcome for trial in record.read(folder).trials}
    assert None in outcomes
    assert outcomes <= {None, "complete"}, "one may have been through before the signal came"
    assert run_quietly(small_sweep(tmp_path, *STEPS), folder)
    assert facts(folder) == undisturbed


def test_what_a_killed_driver_left_is_gone_though_nothing_is_left_to_do(tmp_path: Path) -> None:
    """A kill in the last moment of a sweep, whose next life opens no place for jobs."""
    sweep = small_sweep(tmp_path, "search.trials=1", "judge.trials=none", "trial.schedule.epochs=1")
    folder = tmp_path / "small"
    assert run_quietly(sweep, folder)
    for name in (stop_file.NAME, stop_file.LEAVING):
        (folder / name).write_text("of a driver that was killed")
    assert run_quietly(sweep, folder)
    assert not (folder / stop_file.NAME).exists()
    assert not (folder / stop_file.LEAVING).exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_second_signal_does_not_wait_for_a_step(tmp_path: Path, backend: BackendName) -> None:
    """One that would take many minutes: a hundred thousand iterations of PGD."""
    slow = ("trial.defense=adversarial", "trial.attack.steps=100000")
    with commanded(tmp_path, backend, *slow) as process:
        wait_for(lambda: training(tmp_path), process)
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(2)
        assert process.poll() is None, "it waits for the step in flight"
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("Stopped: trials at work go on from their last checkpoints; go on with: ")
    assert "Traceback" not in said


@pytest.mark.timeout(600)
@pytest.mark.parametrize("backend", BACKENDS)
def test_judging_stops_inside_an_attack_and_keeps_whole_shards(tmp_path: Path, backend: BackendName) -> None:
    """Square asks five thousand times: the shard in flight is given up, and judged anew as if it had never begun."""
    judged = (
        "search.trials=1",
        "trial.schedule.epochs=1",
        "judge.version=[apgd-ce, square]",
        "judge.trials=all",
        "judge.threat.eps=0.01",  # most images are left to the second attack
    )
    undisturbed = tmp_path / "undisturbed"
    assert run_quietly(small_sweep(tmp_path, *judged), undisturbed)
    folder = tmp_path / "small"
    with commanded(tmp_path, backend, *judged) as process:
        wait_for(lambda: list(folder.glob("judgements/0000/attempts-*square*")), process)
        os.killpg(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 130, said
    there = {path: path.read_bytes() for path in folder.glob("judgements/*/*/*.parquet")}
    assert {path.name for path in there} == {"clean-0000.parquet", "apgd-ce-0000.parquet"}
    assert run_quietly(small_sweep(tmp_path, *judged), folder)
    assert facts(folder) == facts(undisturbed)
    assert {path: path.read_bytes() for path in there} == there


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_every_port_of_a_sweep_listens_on_this_machine_alone(tmp_path: Path) -> None:
    """Driver, Ray's servers, agents, metrics and workers: what README says of their ports."""
    ours = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    outside = _address()
    with commanded(tmp_path, "ray", "trial.schedule.epochs=100000") as process:
        wait_for(lambda: list(tmp_path.glob("small/trials/*/metrics.csv")), process)
        time.sleep(3)  # agents come last
        ports = set()
        for each in family(process):
            for found in each.net_connections(kind="inet"):
                if found.status == psutil.CONN_LISTEN:
                    assert found.laddr.ip in ours, (each.cmdline(), found.laddr)
                    ports.add(found.laddr.port)
        assert len(ports) > 5, "at least those of the head, the node, the driver and two workers"
        for port in ports:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            if outside is not None:
                with pytest.raises(OSError, match=r"refused|timed out"):
                    socket.create_connection((outside, port), timeout=5)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(120) == 130


def _address() -> str | None:
    """One of this machine that others may reach, if it has any."""
    for addresses in psutil.net_if_addrs().values():
        for each in addresses:
            if each.family == socket.AF_INET and not each.address.startswith("127."):
                return each.address
    return None


# The file.


class Working:
    """A task that works until it is interrupted, or for so many steps."""

    def __init__(self, *, ends: bool = False) -> None:
        self.steps = 0
        self.stopped = threading.Event()
        self.ends = ends

    def step(self) -> Report:
        self.steps += 1
        if not self.ends:
            assert self.stopped.wait(60)
            raise Paused
        return {"done": False, "training_iteration": self.steps}

    def interrupt(self) -> bool:
        self.stopped.set()
        return True


def test_an_emptied_file_stops_the_step_that_runs_and_every_later_one(tmp_path: Path) -> None:
    with StopFile(tmp_path) as stop:
        quick = Working(ends=True)
        assert not asked(stop.path)
        assert heeding(quick, asking(stop.path)) == {"done": False, "training_iteration": 1}
        working = Working()
        threading.Timer(0.1, stop.ask).start()
        assert heeding(working, asking(stop.path)) == PAUSED
        assert asked(stop.path)
        for task in (working, quick):
            assert heeding(task, asking(stop.path)) == PAUSED
            assert task.steps == 1, "no step was begun"
    assert not stop.path.exists()
    assert not asked(stop.path), "a worker that cannot see it goes on: it may be the node"


def test_a_file_that_is_gone_is_no_error_in_a_handler(tmp_path: Path) -> None:
    with StopFile(tmp_path) as stop:
        stop.path.unlink()
        stop.ask()
        assert not asked(stop.path)


def test_what_a_killed_driver_left_stops_no_later_one(tmp_path: Path) -> None:
    left = StopFile(tmp_path)
    left.__enter__()
    left.ask()
    with StopFile(tmp_path) as stop:
        assert not asked(stop.path)
