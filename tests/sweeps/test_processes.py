"""Trials that several processes train: what a job gets, what is refused, and sweeps of them."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from robustray.errors import ProcessLost, UserError
from robustray.training import processes
from sweeps.running import packing
from sweeps.running import ray as on_ray
from sweeps.running.in_flight import InFlight
from sweeps.running.nodes import Node
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import Job, Sized
from sweeps.running.ray_nodes import RollCall
from sweeps.running.tasks.train import TrainTask
from sweeps.space.resources import Resources
from tests.sweeps.small import facts, run_quietly, small_sweep
from tests.sweeps.test_packing import Script
from tests.sweeps.test_watch import _One

TWO = ("resources={processes: 2, gpus: 0}", "search.trials=3", "trial.schedule.epochs=12")


@pytest.mark.parametrize(
    ("options", "machine", "share"),
    [
        ({}, Machine(8, 4), Share(2.0, 2.0, processes=2)),
        ({}, Machine(8, 0), Share(2.0, 0.0, processes=2)),
        ({"gpus": 0}, Machine(8, 4), Share(2.0, 0.0, processes=2)),
        ({"cpus": 6, "gpus": 2}, Machine(8, 4), Share(6.0, 2.0, processes=2)),
    ],
)
def test_each_process_has_a_gpu_or_its_part_of_the_cores(
    options: dict[str, Any], machine: Machine, share: Share
) -> None:
    found = packing.asked(Resources(processes=2, **options), machine)
    assert found == share
    assert share.threads == int(share.cpus / 2)
    assert share.single() == Share(share.cpus / 2, share.gpus / 2)


def test_trainings_get_the_whole_share_and_other_jobs_the_part_of_one_process() -> None:
    got = {}
    for kind in ("train", "judge"):
        job = Sized(_One(Job(kind, 0, {"kind": kind})), Share(4.0, 2.0, processes=2), print).next()
        assert isinstance(job, Job)
        got[kind] = (job.work["cpus"], job.work["gpus"], job.work["processes"])
    assert got == {"train": (4.0, 2.0, 2), "judge": (2.0, 1.0, 1)}


def test_as_many_processes_are_at_work_as_the_nodes_have_room_for() -> None:
    script = Script(2)
    script.waiting += [Job(f"judge {n}", n, {"kind": "judge"}) for n in range(3)]
    roll = RollCall()
    roll.nodes.alive["here"] = Node("here", "host", "127.0.0.1", 6, 0)
    roll.nodes.share = share = Share(2.0, 0.0, processes=2)
    assert (roll.nodes.slots, roll.nodes.processes) == (3, 6)
    flight = InFlight(Sized(script, share, print), roll.nodes)
    search = on_ray._Search(flight, roll, Path("stop"))
    for key in "abcd":
        assert isinstance(search.suggest(key), dict)
    assert [job.work["processes"] for job in flight.jobs.values()] == [2, 2, 1, 1]
    assert search.suggest("e") is None
    search.on_trial_complete("a", {"report": '{"outcome": "complete"}'})
    assert isinstance(search.suggest("e"), dict)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("resources={processes: 2, gpus: 1}", "resources.gpus: must be 2, one for each of the processes, or 0, not 1"),
        (
            "resources={processes: 2, gpus: 0.5}",
            "resources.gpus: must be 2, one for each of the processes, or 0, not 0.5",
        ),
        (
            "resources={processes: 4, cpus: 2}",
            "resources.cpus: must be 4 at least, one for each of the processes, not 2",
        ),
        (
            "resources={processes: 2, trials_per_device: 2}",
            "resources.trials_per_device: is for trials that share a device",
        ),
        ("resources={processes: 0}", "resources.processes: must be at least 1, not 0"),
        ("resources={processes: two}", "resources.processes: must be a number, not 'two'"),
        (
            "trial.compile=default",
            "resources.processes: is 2, but of trial.compile: several processes cannot share a compiled",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(override: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        small_sweep(tmp_path, TWO[0], override)
    assert said in str(refused.value)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sweep on the local backend."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_quietly(small_sweep(folder, *TWO), folder / "small")
    return facts(folder / "small")


WATCHED = ("resources={processes: 2, gpus: 0, patience: 15s, max_failures: 12}", *TWO[1:])
"""Each attempt has twice the patience of the one before: none of them ends a job that a busy machine slows."""


def _followers() -> list[psutil.Process]:
    """Those that train with another one, of all that this process has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if processes.FOLLOWER in child.cmdline():
                found.append(child)
    return found


def _meanwhile(begun: Path, do: Callable[[psutil.Process], None]) -> threading.Thread:
    """Does something to a process that trains with another one, once a trial has a checkpoint."""

    def look() -> None:
        while not begun.exists() or not (there := _followers()):
            time.sleep(0.002)
        with contextlib.suppress(psutil.NoSuchProcess):
            do(there[0])

    thread = threading.Thread(target=look)
    thread.start()
    return thread


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("does", "said"),
    [
        (psutil.Process.kill, "was killed by SIGKILL, as the kernel does where memory runs out"),
        (psutil.Process.suspend, "process 1 of 2 (from 0) is stopped: no sign of life of 2 processes for"),
    ],
    ids=["killed", "stopped"],
)
def test_a_sweep_that_loses_a_process_ends_as_if_it_had_not(
    does: Callable[[psutil.Process], None], said: str, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    if TrainTask._crew is not None:  # kept for the next trial
        TrainTask._crew.end()
    folder = tmp_path / "small"
    meanwhile = _meanwhile(folder / "trials" / "0000" / "last.pt", does)
    assert run_quietly(small_sweep(tmp_path, *WATCHED), folder)
    meanwhile.join()
    assert facts(folder) == undisturbed
    assert said in "".join(path.read_text() for path in folder.glob("trials/*/log.txt"))
    assert said in (folder / "events.log").read_text()
    assert len(_followers()) == 1, "those that wait for the next trial, and no other"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("which", ["the first", "the other"])
def test_on_ray_one_that_stands_still_is_replaced_and_leaves_none_behind(
    which: str, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    if TrainTask._crew is not None:
        TrainTask._crew.end()
    stopped: list[psutil.Process] = []

    def stop(other: psutil.Process) -> None:
        first = other.parent()
        assert first is not None
        stopped.append(first if which == "the first" else other)
        stopped[0].suspend()

    folder = tmp_path / "small"
    meanwhile = _meanwhile(folder / "trials" / "0000" / "last.pt", stop)
    assert run_quietly(small_sweep(tmp_path, *WATCHED), folder, "ray")
    meanwhile.join()
    assert facts(folder) == undisturbed
    assert stopped
    said = (folder / "events.log").read_text()
    assert "no sign of life" in said
    if which == "the other":
        assert "process 1 of 2 (from 0) is stopped" in said
    psutil.wait_procs(stopped, timeout=120)
    assert not any(each.is_running() for each in stopped)
    assert not _followers()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_ray_gives_what_local_gives(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    assert run_quietly(small_sweep(tmp_path, *TWO), tmp_path / "small", "ray")
    assert facts(tmp_path / "small") == undisturbed


def test_a_process_that_is_lost_in_a_worker_is_said_by_its_own_line() -> None:
    """And not by that of the library which found the connection closed, that Ray writes before it."""
    from sweeps.running import ray_nodes  # after `on_ray`, which sets Ray's environment

    try:
        try:
            raise RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:7829")
        except RuntimeError as error:
            raise ProcessLost("process 1 of 2 (from 0) is stopped: no sign of life of 2 processes for 8 s") from error
    except ProcessLost as error:
        written = "".join(traceback.format_exception(error))
    assert ray_nodes.in_words(written) == (
        "ProcessLost: process 1 of 2 (from 0) is stopped: no sign of life of 2 processes for 8 s"
    )
