"""How many trials run at a time: what follows from measurements, what the record keeps, who is tried again alone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustray import processors
from robustray.errors import UserError
from robustray.measures.threads import halved
from robustray.training import Trainer, checkpoints, cost
from robustray.trial import TrialConfig
from sweeps import dry_run, record
from sweeps.running import packing
from sweeps.running import ray as on_ray
from sweeps.running.in_flight import InFlight
from sweeps.running.nodes import Node
from sweeps.running.packing import Machine, Share
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Sized, Verdict
from sweeps.running.ray_nodes import RollCall
from sweeps.running.ray_scaling import Scaling
from sweeps.running.tasks import base
from sweeps.running.worker import open_task
from sweeps.space.resources import Resources
from tests.sweeps.small import run_quietly, small_sweep

CORES = st.integers(1, 256)
BYTES = st.integers(1, 2**37)
SECONDS = st.floats(1e-4, 100)


@st.composite
def rates(draw: st.DrawFn) -> tuple[int, dict[int, float]]:
    """Cores, and images/s by the number of trials that share them; the measurement may have ended early."""
    cores = draw(CORES)
    tried = list(halved(cores))
    tried = tried[: draw(st.integers(1, len(tried)))]
    return cores, {trials: draw(st.floats(0.01, 1e5)) for trials in tried}


# ------------------------------------------------------------------------------------------------------ pure functions


@given(cores=CORES)
def test_splits_go_from_all_cores_to_one_trial_and_never_ask_for_more_threads_than_there_are(cores: int) -> None:
    tried = list(halved(cores))
    assert (tried[0], tried[-1]) == (cores, 1)
    assert tried == sorted(set(tried), reverse=True)
    assert all(cores // trials >= 1 and trials * (cores // trials) <= cores for trials in tried)


@given(measured=rates(), process=BYTES, free=BYTES, more=BYTES, faster=st.floats(0.1, 100))
def test_trials_on_cores(
    measured: tuple[int, dict[int, float]], process: int, free: int, more: int, faster: float
) -> None:
    cores, by_trials = measured
    found = packing.on_cores(cores, by_trials, process, free)
    assert found in by_trials
    assert found == min(by_trials) or found * process <= packing.ROOM * free, "it fits, or is the least there is"
    assert packing.on_cores(cores, by_trials, process + more, free) <= max(by_trials)
    total = {n: n * rate for n, rate in by_trials.items() if n * process <= packing.ROOM * free}
    assert not total or total[found] >= packing.NEIGHBOURS * max(total.values())
    roomy = packing.on_cores(cores, by_trials, 1, 2**40)
    other = packing.on_cores(cores, {n: faster * rate for n, rate in by_trials.items()}, 1, 2**40)
    assert roomy * by_trials[roomy] == pytest.approx(other * by_trials[other], rel=1e-6), "units do not matter"


@given(cores=CORES, rate=st.floats(0.1, 1e4))
def test_what_gains_nothing_from_threads_runs_once_per_core_and_what_gains_in_full_once(
    cores: int, rate: float
) -> None:
    tried = list(halved(cores))
    assert packing.on_cores(cores, dict.fromkeys(tried, rate), 1, 2**40) == cores
    assert packing.on_cores(cores, {n: rate * (cores // n) for n in tried}, 1, 2**40) == 1


@given(cores=CORES, peak=BYTES, free=BYTES, more=BYTES, whole=SECONDS, part=st.floats(0.4, 1.1), less=st.floats(0, 0.3))
def test_trials_on_a_gpu(cores: int, peak: int, free: int, more: int, whole: float, part: float, less: float) -> None:
    found = packing.on_gpu(cores, peak, free, whole, part * whole)
    assert 1 <= found <= min(packing.MOST, cores)
    assert found == 1 or found * (peak + packing.CONTEXT) <= free
    assert packing.on_gpu(cores, peak, free + more, whole, part * whole) >= found
    assert packing.on_gpu(cores, peak + more, free, whole, part * whole) <= found
    assert packing.on_gpu(cores + 1, peak, free, whole, part * whole) >= found
    assert packing.on_gpu(cores, peak, free, whole, (part - less) * whole) <= found, (
        "a GPU that is busier has less to share"
    )


@pytest.mark.parametrize(("half", "trials"), [(0.5, 1), (0.6, 1), (0.75, 2), (0.875, 4), (1.0, 8), (1.2, 8)])
def test_the_time_that_a_gpu_waits_says_how_many_share_it(half: float, trials: int) -> None:
    """With t(B) = a + b B, half of a batch in 3/4 of the time means that half of the time is waiting."""
    assert packing.on_gpu(64, 2**20, 2**37, 1.0, half) == trials


@given(trials=st.integers(1, 16), gpus=st.integers(1, 16), cores=st.integers(1, 512))
def test_so_many_share_each_gpu(trials: int, gpus: int, cores: int) -> None:
    share = packing.of_gpu(trials, Machine(cores, gpus))
    assert share.jobs_on(cores, gpus) == trials * gpus
    assert share.sharers == trials
    assert trials * round(share.gpus * 1e4) <= 1e4, "Ray counts in ten-thousandths"
    assert trials * share.memory <= packing.ROOM + 1e-9 or trials == 1
    assert (share.alone().gpus, share.alone().memory) == (1.0, 1.0)


@given(trials=st.integers(1, 64), cores=CORES)
def test_so_many_share_the_cores(trials: int, cores: int) -> None:
    share = packing.of_cores(trials, Machine(cores, 0))
    assert share.jobs_on(cores, 0) == trials
    assert share.threads == max(1, cores // trials)
    assert share.alone() == share


@given(cores=CORES, pick=st.integers(0, 8), smaller=CORES)
def test_what_the_record_keeps_gives_the_same_share_again(cores: int, pick: int, smaller: int) -> None:
    machine = Machine(cores, 0)
    tried = list(halved(cores))
    trials = tried[pick % len(tried)]
    number = packing.found(trials, machine)
    share = packing.kept(number, machine)
    assert share.threads == number == cores // trials
    assert share.jobs_on(cores, 0) == trials
    elsewhere = packing.kept(number, Machine(smaller, 0))
    assert elsewhere.jobs_on(smaller, 0) >= 1
    assert packing.found(None, machine) == packing.found(None, Machine(cores, 2)) == 1, (
        "where nothing could be measured"
    )


def test_what_is_asked_for_comes_before_what_is_measured() -> None:
    machine, gpus = Machine(8, 0), Machine(16, 4)
    assert packing.asked(Resources(), machine) is packing.asked(Resources(), gpus) is None
    assert packing.asked(Resources(), Machine(1, 0)) == Share(1.0, 0.0), "one core needs no measurement"
    assert packing.asked(Resources(cpus=4), machine) == Share(4.0, 0.0)
    assert packing.asked(Resources(cpus=4), gpus) == Share(4.0, 1.0)
    assert packing.asked(Resources(gpus=0), gpus) == Share(1.0, 0.0)
    assert packing.asked(Resources(gpus=0.5), gpus) == Share(1.0, 0.5)
    assert packing.asked(Resources(trials_per_device=2), machine) == Share(4.0, 0.0)
    assert packing.asked(Resources(trials_per_device=2), gpus) == Share(1.0, 0.5)
    assert packing.asked(Resources(trials_per_device=8), gpus) == Share(0.5, 0.125), "cores are shared too"


# --------------------------------------------------------------------------------------------------- measuring, keeping


Known = Callable[[Callable[[int], float]], list[int]]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Known:
    """Makes a step take so many seconds by its threads, on a machine of four cores and memory that no test fills; gives the
    threads that were tried.
    """

    def install(seconds: Callable[[int], float]) -> list[int]:
        tried: list[int] = []

        def trial(config: TrialConfig, *, device: str = "auto", threads: int | None = None) -> cost.TrialCost:
            assert threads is not None
            tried.append(threads)
            return cost.TrialCost(seconds(threads), steps=10, validation=1.0, validations=5, checkpoint=1000)

        monkeypatch.setattr(cost, "trial", trial)
        monkeypatch.setattr(processors, "cores", lambda: 4)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**50, total=2**50))
        return tried

    return install


def _measured(config: TrialConfig, cores: int) -> dict[str, Any]:
    return open_task({"kind": "measure", "trial": config.to_yaml(), "cores": cores}).step()


def test_a_measurement_ends_where_threads_help_no_more(tmp_path: Path, known: Known) -> None:
    config = next(iter(small_sweep(tmp_path).examples()))
    tried = known(lambda threads: 0.1)
    assert _measured(config, 4)["trials"] == 4
    assert set(tried) == {1, 2}
    tried = known(lambda threads: 0.1 / threads)
    assert _measured(config, 4)["trials"] == 1
    assert set(tried) == {1, 2, 4}
    known(lambda threads: 0.1 / min(threads, 2))
    assert _measured(config, 4)["trials"] == 2


def test_a_real_measurement_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = next(iter(small_sweep(tmp_path / "space").examples()))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _measured(config, 2)["trials"] in (1, 2)
    left = {path.name for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")}  # torch's, once
    assert left == {"space"}


def test_the_share_is_measured_once_and_kept(tmp_path: Path, known: Known) -> None:
    """A machine that is quieter tomorrow must not resume a trial with other threads."""
    threads = torch.get_num_threads()
    folder, auto = tmp_path / "small", ("resources={}", "judge.trials=none", "trial.schedule.epochs=1")
    try:
        tried = known(lambda threads: 0.1 / threads)
        assert run_quietly(small_sweep(tmp_path, *auto, "search.trials=1"), folder)
        assert tried
        assert record.read(folder).settings["threads_per_trial"] == 4
        tried = known(lambda threads: 0.1)
        assert run_quietly(small_sweep(tmp_path, *auto, "search.trials=2"), folder)
        assert tried == []
        assert run_quietly(small_sweep(tmp_path, *auto, "resources={trials_per_device: 2}", "search.trials=3"), folder)
        assert [checkpoints.load(folder / f"trials/{n:04d}/last.pt")["threads"] for n in range(3)] == [4, 4, 2]
    finally:
        torch.set_num_threads(threads)
    assert "4 threads for each trial" in (folder / "events.log").read_text()


def test_a_trial_that_cannot_be_measured_stops_nothing(tmp_path: Path, known: Known) -> None:
    def broken(threads: int) -> float:
        raise ValueError("the network is too deep")

    known(broken)
    sweep = small_sweep(tmp_path, "resources={}", "judge.trials=none", "search.trials=1", "trial.schedule.epochs=1")
    assert run_quietly(sweep, tmp_path / "small")
    snapshot = record.read(tmp_path / "small")
    assert snapshot.settings["threads_per_trial"] == 1
    assert snapshot.trials[0].outcome == "complete"
    assert (
        "one thread for each trial (could not be measured: the network is too deep)"
        in (tmp_path / "small/events.log").read_text()
    )


def test_a_dry_run_measures_as_the_sweep_does(tmp_path: Path, known: Known) -> None:
    said: list[str] = []
    known(lambda threads: 0.1 / threads)
    dry_run.show(small_sweep(tmp_path, "resources={}"), said.append)
    assert "1 at a time on this machine, 4 threads each" in "\n".join(said)
    known(lambda threads: 0.1)
    dry_run.show(small_sweep(tmp_path, "resources={}"), said.append)
    assert said[-6].endswith("4 at a time on this machine")


def test_ray_says_how_many_run_at_a_time_and_what_each_has() -> None:
    place = object.__new__(on_ray.RayTune)
    told: list[str] = []
    place._say = told.append
    place._scaling = Scaling(None)
    place._roll = RollCall()
    place._roll.nodes.seen([Node("a", "a", "", 16.0, 2.0), Node("b", "b", "", 8.0, 0.0)])
    for share, said in {
        Share(1.0, 0.0): "24 at a time on Ray",
        Share(4.0, 0.0): "6 at a time on Ray, 4 threads each",
        Share(1.0, 0.25): "8 at a time on Ray, 4 to a GPU",
    }.items():
        place.settle(share)
        assert place.described == said
    assert told == ["node b (, b) gets no work: it has 8 CPUs and 0 GPUs, and each job takes 1 CPUs and 0.25 GPUs"]
    with pytest.raises(
        UserError, match=r"no job fits on one node: each takes 32 CPUs and 0 GPUs; a .* has 16 CPUs and 2"
    ):
        place.settle(Share(32.0, 0.0))


# ------------------------------------------------------------------------------------------------- tried again, alone


class Script:
    """A queue of jobs that keeps what it is told of their ends."""

    def __init__(self, jobs: int) -> None:
        self.waiting = [Job(f"trial {n}", n, {"kind": "train", "session": "one"}) for n in range(jobs)]
        self.ends: list[tuple[int, str]] = []

    def next(self) -> Job | Signal:
        return self.waiting.pop(0) if self.waiting else DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.ends.append((job.number, end.outcome))


def _given(queue: Sized) -> Job:
    job = queue.next()
    assert isinstance(job, Job)
    return job


def test_out_of_memory_beside_others_is_tried_again_alone() -> None:
    script, told = Script(3), list[str]()
    queue = Sized(script, Share(1.0, 0.5), told.append)
    first, second = _given(queue), _given(queue)
    assert (first.work["gpus"], first.work["cpus"], first.work["session"]) == (0.5, 1.0, "one")
    queue.finish(first, End("out_of_memory"))
    assert script.ends == []
    assert told == ["trial 0 ran out of memory beside others; it is tried again alone"]
    again = _given(queue)
    assert (again.number, again.work["gpus"]) == (0, 1.0)
    assert again.work["session"] != "one", "the first attempt is no death of a process"
    assert queue.next() is WAIT, "nobody takes the room that it waits for"
    queue.finish(second, End("complete"))
    assert queue.next() is WAIT
    queue.report(again, {"epoch": 1})
    third = _given(queue)
    assert (third.number, third.work["gpus"]) == (2, 0.5)
    queue.finish(again, End("out_of_memory"))
    assert script.ends == [(1, "complete"), (0, "out_of_memory")], "alone, it is an outcome"
    assert queue.next() is WAIT, "the last one may have to be tried again as well"
    queue.finish(third, End("complete"))
    assert queue.next() is DONE


def test_out_of_memory_on_a_whole_gpu_is_an_outcome() -> None:
    script = Script(1)
    queue = Sized(script, Share(1.0, 1.0), print)
    queue.finish(_given(queue), End("out_of_memory"))
    assert script.ends == [(0, "out_of_memory")]
    assert queue.next() is DONE


@given(st.data())
def test_every_job_ends_once_whatever_runs_out_of_memory(data: st.DataObject) -> None:
    """Any order of ends, reports and failures: nothing is lost, doubled or stuck, and alone is alone until heard of."""
    jobs, slots = data.draw(st.integers(1, 8)), data.draw(st.integers(1, 4))
    script = Script(jobs)
    queue = Sized(script, Share(1.0, 1 / slots if slots > 1 else 1.0), lambda line: None)
    flying: list[Job] = []
    for _ in count():
        found = queue.next() if len(flying) < slots else WAIT
        if isinstance(found, Job):
            flying.append(found)
        elif not flying:
            assert found is DONE, "the queue waits for nothing"
            break
        else:
            job = data.draw(st.sampled_from(flying))
            if data.draw(st.booleans()):
                queue.report(job, {"epoch": 1})
            else:
                flying.remove(job)
                queue.finish(job, End(data.draw(st.sampled_from(["complete", "out_of_memory", "failed"]))))
    assert sorted(number for number, _ in script.ends) == list(range(jobs))


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Share]]:
    """A device that is full for trial 0000 unless it has all of it, and for 0001 always; gives the shares of each attempt."""
    attempts: dict[str, list[Share]] = {}
    settle, epoch = base.settle, Trainer.epoch

    def settled(work: dict[str, Any]) -> Share:
        attempts.setdefault(Path(work["folder"]).name, []).append(settle(work))
        return attempts[Path(work["folder"]).name][-1]

    def on_full_device(trainer: Trainer) -> dict[str, Any]:
        name = trainer.folder.name
        if name == "0001" or (name == "0000" and attempts[name][-1].gpus < 1):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return epoch(trainer)

    monkeypatch.setattr(base, "settle", settled)
    monkeypatch.setattr(Trainer, "epoch", on_full_device)
    return attempts


def test_a_sweep_tries_them_again_alone(tmp_path: Path, full: dict[str, list[Share]]) -> None:
    sweep = small_sweep(
        tmp_path,
        "resources={gpus: 0.5, max_failures: 0}",
        "judge.trials=none",
        "search.trials=3",
        "trial.schedule.epochs=1",
    )
    assert run_quietly(sweep, tmp_path / "small")
    trials = record.read(tmp_path / "small").trials
    assert [trial.outcome for trial in trials] == ["complete", "out_of_memory", "complete"]
    assert {name: [share.gpus for share in shares] for name, shares in full.items()} == {
        "0000": [0.5, 1.0],
        "0001": [0.5, 1.0],
        "0002": [0.5],
    }
    events = (tmp_path / "small/events.log").read_text()
    assert events.count("ran out of memory beside others; it is tried again alone") == 2


def test_ray_is_asked_for_what_a_job_gets() -> None:
    queue = Sized(Script(2), Share(2.0, 0.25), lambda line: None)
    roll = RollCall()
    roll.nodes.unknown.add("one that may do the work")
    search = on_ray._Search(InFlight(queue, roll.nodes), roll, Path("stop"))
    config = search.suggest("a")
    assert isinstance(config, dict)
    assert on_ray._wanted(config).required_resources == {"CPU": 2.0, "GPU": 0.25}
    search.on_trial_complete("a", {"report": '{"outcome": "out_of_memory"}'})
    again = search.suggest("b")
    assert isinstance(again, dict)
    assert on_ray._wanted(again).required_resources == {"CPU": 2.0, "GPU": 1.0}
    assert search.suggest("c") is None
