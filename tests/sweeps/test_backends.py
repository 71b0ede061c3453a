"""Backends between the queue and the work: what a hook's failure, a signal or a rounding must not do."""

from __future__ import annotations

import json
import os
import signal
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
from robustray.errors import Paused, UserError
from robustray.judging import shard_size
from robustray.judging.answers import Copies
from robustray.subjects.trial import load_model
from robustray.verdicts import CLEAN, read_shard
from sweeps.running import local
from sweeps.running import ray as on_ray
from sweeps.running.in_flight import Halt, InFlight
from sweeps.running.nodes import JobReturned, Node, NodeNews, Nodes
from sweeps.running.packing import Share
from sweeps.running.queues import DONE, Chain, End, Job, Primed, Result, Signal, Verdict
from sweeps.running.ray_nodes import RollCall
from sweeps.running.ray_scaling import Scaling
from sweeps.running.stop_file import PAUSED
from sweeps.running.tasks import compiler as compiling
from sweeps.running.tasks import packed
from sweeps.running.tasks.base import BLOCKED, deaths, settle
from sweeps.running.tasks.judge import JudgeTask
from sweeps.running.tasks.packed import MeasureTask
from sweeps.running.tasks.train import TrainTask
from sweeps.running.worker import open_task
from tests.robustray.made import JUDGE, trial


class Told:
    """A queue of so many jobs that keeps what it is told."""

    def __init__(self, jobs: int) -> None:
        self.waiting = [Job(f"trial {n}", n, {"kind": "train", "number": n, "folder": "nowhere"}) for n in range(jobs)]
        self.ends: list[tuple[int, str, str | None]] = []
        self.reports = 0
        self.verdict: Verdict = "go"

    def next(self) -> Job | Signal:
        return self.waiting.pop(0) if self.waiting else DONE

    def report(self, job: Job, result: Result) -> Verdict:
        self.reports += 1
        return self.verdict

    def finish(self, job: Job, end: End) -> None:
        self.ends.append((job.number, end.outcome, end.cause))


def _hooks(queue: Any, say: Callable[[str], None] = lambda line: None) -> tuple[InFlight, Any, Any]:
    """What is in flight, and what Tune calls for it."""
    roll = RollCall()
    roll.nodes.alive["here"] = Node("here", "host", "127.0.0.1", 8, 0)
    roll.nodes.share = Share(cpus=1, gpus=0)
    flight = InFlight(queue, roll.nodes, say=say)
    return flight, on_ray._Search(flight, roll, Path("stop")), on_ray._Schedule(flight, roll, Scaling(None))


def _result(**report: Any) -> dict[str, Any]:
    return {"report": json.dumps({"epoch": 1, "epochs": 2, **report})}


class _Trial:
    """What our scheduler needs of a trial of Tune's."""

    def __init__(self, trial_id: str, status: str = "RUNNING") -> None:
        self.trial_id = trial_id
        self.status = status
        self.error_file = self.pickled_error_file = None
        self.config: dict[str, Any] = {"shunned": ""}

    def set_config(self, config: dict[str, Any]) -> None:
        self.config = config


def _controller(*trials: _Trial) -> Any:
    return SimpleNamespace(get_live_trials=lambda: trials)


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Ray is there to be asked for nodes."""
    monkeypatch.setattr(RollCall, "poll", lambda self: None)


def test_a_hook_that_fails_stops_the_sweep_and_fails_no_healthy_trial() -> None:
    told = Told(2)
    flight, search, schedule = _hooks(Chain(told))
    first, second = search.suggest("a"), search.suggest("b")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert json.loads(second["work"])["number"] == 1
    search.on_trial_complete("a", _result(outcome=BLOCKED, cause="no space left"))
    assert isinstance(flight.error, UserError)
    assert schedule.on_trial_result(None, _Trial("b"), _result()) == "STOP"
    search.on_trial_complete("b", _result())
    assert told.ends == [], "both stay unfinished in the record, and go on in the next life"
    assert search.suggest("c") == "FINISHED"
    assert not flight.through


def test_those_at_work_are_asked_to_stop_once_an_error_has_ended_the_sweep() -> None:
    """Else all of an epoch is waited for, or given up."""
    asked: list[bool] = []
    flight = InFlight(Told(1), Nodes(lambda news: None), lambda: asked.append(True))
    for _ in range(2):
        with flight.guard():
            raise OSError("disk")
    assert asked == [True]
    flight.stop()
    assert asked == [True, True]


def test_a_trial_that_ends_by_itself_while_the_sweep_is_stopped_is_recorded() -> None:
    told = Told(2)
    flight, search, _ = _hooks(told)
    search.suggest("a")
    flight.error = OSError("disk")
    search.on_trial_complete("a", _result(outcome="complete"))
    assert told.ends == [(0, "complete", None)]


def test_stopped_is_told_from_finished_and_a_death_has_its_cause() -> None:
    told = Told(3)
    flight, search, schedule = _hooks(told)
    for trial_id in "abc":
        search.suggest(trial_id)
    told.verdict = "stop"
    assert schedule.on_trial_result(None, _Trial("a"), _result()) == "STOP"
    search.on_trial_complete("a", _result())
    schedule.on_trial_error(None, _Trial("b"))
    search.on_trial_complete("b", None, error=True)
    search.on_trial_complete("c", _result(outcome="diverged"))
    assert told.ends == [(0, "stopped", None), (2, "diverged", None)], "a worker that died is no end of a job"
    again = search.suggest("d")
    assert isinstance(again, dict)
    assert json.loads(again["work"])["number"] == 1
    assert flight.error is None


def test_the_last_job_is_waited_for_since_it_may_have_to_be_begun_again() -> None:
    """Its worker, kept from the job before, may be dead: Tune gives it up, and asks no more once it is told that all is out."""
    told = Told(2)
    flight, search, _ = _hooks(told)
    for trial_id in "ab":
        search.suggest(trial_id)
    assert search.suggest("c") is None
    search.on_trial_complete("a", _result(outcome="complete"))
    assert search.suggest("c") is None
    search.on_trial_complete("b", None, error=True)
    assert not flight.through
    again = search.suggest("c")
    assert isinstance(again, dict)
    assert json.loads(again["work"])["number"] == 1
    search.on_trial_complete("c", _result(outcome="complete"))
    assert search.suggest("d") == "FINISHED"
    assert flight.through
    assert told.ends == [(0, "complete", None), (1, "complete", None)]


def test_a_sweep_that_stops_hands_out_nothing_and_ends_no_job_that_was_stopped() -> None:
    """What a worker or the queue did end is recorded, and so is the last epoch of one that stopped after it."""
    told = Told(5)
    flight, search, schedule = _hooks(told)
    for trial_id in "abcd":
        search.suggest(trial_id)
    told.verdict = "stop"
    assert schedule.on_trial_result(None, _Trial("d"), _result()) == "STOP"
    told.verdict = "go"
    flight.stop()
    assert search.suggest("e") == "FINISHED"
    assert schedule.on_trial_result(None, _Trial("a"), _result()) == "STOP"
    assert told.reports == 2
    search.on_trial_complete("a", _result())
    search.on_trial_complete("b", {"report": json.dumps(PAUSED)})
    search.on_trial_complete("c", _result(outcome="complete"))
    search.on_trial_complete("d", _result())
    assert told.ends == [(2, "complete", None), (3, "stopped", None)]
    assert not flight.through, "two were left"
    assert not flight.died


@pytest.mark.usefixtures("unlisted")
@pytest.mark.parametrize("error", [False, True], ids=["asked for", "after an error"])
def test_a_sweep_that_stops_waits_for_what_is_at_work_and_for_nothing_else(error: bool) -> None:
    """A trial without a place, or whose process died, has nothing left to write; the latter is told from the former."""
    said: list[str] = []
    flight, search, schedule = _hooks(Told(2), said.append)
    trials = [_Trial("a"), _Trial("b", "PENDING")]
    for each in trials:
        search.suggest(each.trial_id)
    controller = _controller(*trials)
    assert schedule.choose_trial_to_run(controller) is trials[1]
    if error:
        flight.error = OSError("disk")
    else:
        flight.stop()
    for _ in range(2):
        assert schedule.choose_trial_to_run(controller) is None
    assert said == ["stopping: a job ends its step" + ("" if error else "; once more stops at once")]
    trials[0].status = "PENDING"
    with pytest.raises(Halt):
        schedule.choose_trial_to_run(controller)
    schedule.on_trial_error(None, trials[0])
    assert flight.died is not error


@pytest.mark.usefixtures("unlisted")
def test_a_sweep_without_nodes_ends_once_nothing_is_at_work_and_says_why() -> None:
    flight, search, schedule = _hooks(Told(2))
    trials = [_Trial("a"), _Trial("b", "PENDING")]
    for each in trials:
        search.suggest(each.trial_id)
    flight._nodes.alive.clear()
    assert schedule.choose_trial_to_run(_controller(*trials)) is None
    assert str(flight.error).startswith("no node can do the work (")
    assert search.suggest("c") == "FINISHED"
    trials[0].status = "PENDING"
    with pytest.raises(Halt):
        schedule.choose_trial_to_run(_controller(*trials))


@pytest.mark.parametrize("stopping", [False, True])
def test_a_job_that_loses_its_place_while_the_sweep_stops_is_not_said_to_wait_for_another(stopping: bool) -> None:
    news: list[NodeNews] = []
    flight = InFlight(Told(2), Nodes(news.append), tell=news.append)
    job = flight.begin("a")
    assert isinstance(job, Job)
    if stopping:
        flight.stop()
    assert flight.lose("a", "its node was lost", spared=False) == job
    assert news == ([] if stopping else [JobReturned(job, "its node was lost")])
    assert flight.died is stopping


@given(jobs=st.integers(1, 64), devices=st.integers(1, 16))
def test_slots_are_exact_for_fractions(jobs: int, devices: int) -> None:
    share = Share(0.0, 1 / jobs)
    assert share.jobs_on(2.0, float(devices)) == jobs * devices
    assert share.jobs_on(2.0, 0.0) == 0
    assert Share(2.0, 0.0).jobs_on(3.0, float(devices)) == 1


def test_a_signal_while_the_queue_thinks_stops_before_the_next_job() -> None:
    class Thinking(Told):
        def next(self) -> Job | Signal:
            os.kill(os.getpid(), signal.SIGTERM)
            return super().next()

    told = Thinking(2)
    assert local.Local().run(told) is True
    assert told.ends == []
    assert told.reports == 0


def test_a_primed_queue_gives_its_first_answer_once() -> None:
    told = Told(2)
    first = told.next()
    assert isinstance(first, Job)
    primed = Primed(first, told)
    assert [primed.next(), primed.next(), primed.next()] == [
        first,
        Told(2).waiting[1],
        DONE,
    ]


def test_deaths_are_counted_per_life_and_place(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "attempts.json"
    assert [deaths(path, "one", 5) for _ in range(3)] == [0, 1, 2]
    assert deaths(path, "one", 6) == 0, "there was progress"
    assert deaths(path, "two", 6) == 0, "another life of the driver"
    path.write_text("{not json")
    assert deaths(path, "two", 6) == 0


def test_a_judge_job_that_keeps_killing_its_process_is_given_up(tmp_path: Path) -> None:
    work = {
        "kind": "judge", "folder": str(tmp_path), "judgements": str(tmp_path / "j"), "split": "validation",
        "attack": "square", "shard": 0, "shard_size": 5, "weights": None, "cpus": 1.0, "gpus": 0.0,
        "session": "one", "max_failures": 2,
        "version": None, "square_early": False,
    }  # fmt: skip
    for _ in range(3):
        ended = JudgeTask(work).step()  # there is no checkpoint: it fails, and says so
        assert ended["outcome"] == "failed"
        assert "no checkpoint" in ended["cause"]
    assert "died 3 times" in JudgeTask(work).step()["cause"]


@pytest.mark.parametrize("compiled", ["off", "default"])
def test_trials_of_all_sweeps_share_what_they_compile(
    compiled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user has a place of their own. What is measured before them compiles there too, on its share of the cores."""
    from torch._inductor import config as compiler

    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "torch"))
    monkeypatch.setattr(compiling, "USERS_CACHE", None)
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    monkeypatch.setattr(packed, "_measured_on_cores", lambda config, cores: 1)
    with compiler.patch(compile_threads=7):
        for name in ("one", "two"):
            folder = tmp_path / "results" / name / "trials" / "0000"
            folder.mkdir(parents=True)
            (folder / "trial.yaml").write_text(trial(compile=compiled).to_yaml())
            work = {
                "kind": "train",
                "folder": str(folder),
                "cpus": 1.0,
                "gpus": 0.0,
                "session": "one",
                "max_failures": 2,
            }
            shared = str(tmp_path / "results" / ".compiled") if compiled == "default" else str(tmp_path / "torch")
            if name == "one":
                measured = {"folder": str(folder), "trial": trial(compile=compiled).to_yaml(), "cores": 3}
                assert MeasureTask(measured).step()["outcome"] == "complete"
                assert (os.environ[compiling.CACHE], compiler.compile_threads) == (
                    shared,
                    3 if compiled == "default" else 7,
                )
            TrainTask(work)._open()
            assert (os.environ[compiling.CACHE], compiler.compile_threads) == (
                shared,
                1 if compiled == "default" else 7,
            )
    monkeypatch.setenv(compiling.CACHE, str(tmp_path / "mine"))
    monkeypatch.setattr(compiling, "USERS_CACHE", str(tmp_path / "mine"))
    TrainTask(work)._open()
    assert os.environ[compiling.CACHE] == str(tmp_path / "mine")


# Jobs of judging on a real trial.


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a trained trial, judged by apgd, and its report."""
    from robustray.training import Trainer

    folder = tmp_path_factory.mktemp("trials") / "0000"
    return folder, Trainer(trial(judge=JUDGE | {"version": "apgd"}), folder, device="cpu").run()


def _judge_job(
    trained: tuple[Path, dict[str, Any]], judgements: Path, stage: str, interrupted: int = 0, **changes: Any
) -> dict[str, Any]:
    """Args: interrupted: at which question to the model."""
    folder, report = trained
    work = {
        "kind": "judge", "folder": str(folder), "judgements": str(judgements), "split": "validation", "attack": stage,
        "shard": 0, "shard_size": 12, "weights": report["weights"], "cpus": 1.0, "gpus": 0.0,
        "session": "one", "max_failures": 2, "version": None, "square_early": False,
    }  # fmt: skip
    task = open_task(work | changes)
    if interrupted:
        questions = count(1)

        def ask(module: torch.nn.Module, args: object) -> None:
            if isinstance(module, Copies) and next(questions) == interrupted:
                task.interrupt()

        with torch.nn.modules.module.register_module_forward_pre_hook(ask):
            return task.step()
    return task.step()


def test_a_judge_job_writes_verdicts_and_reports_them(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    left = {0: 12, 1: 8}  # of twenty images
    for stage in (CLEAN, "apgd-ce", "apgd-t"):
        for number in (1, 0):
            said = _judge_job(trained, tmp_path, stage, shard=number)
            (folder,) = tmp_path.glob("validation-standard-*")
            shard = read_shard(folder, stage, number)
            assert shard is not None
            assert len(shard.image) == left[number]
            left[number] -= int(shard.broken.sum())
            assert said.pop("device_seconds") >= shard.info["seconds"], "loading the model is device time as well"
            assert said == {
                "outcome": "complete", "done": True, "training_iteration": 1, "broken": int(shard.broken.sum()),
                "seconds": shard.info["seconds"], "flags": [], "fgsm": shard.info.get("fgsm"),
            }  # fmt: skip
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again = _judge_job(trained, tmp_path, "apgd-t")
    assert again["outcome"] == "complete"
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is there is read"


def test_a_judge_job_that_is_interrupted_gives_up_its_shard_and_is_judged_anew(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """At the next question to the model, before the attack or in its middle; the model keeps nothing of it."""
    for stage in (CLEAN, "apgd-ce"):
        assert _judge_job(trained, tmp_path / "whole", stage)["outcome"] == "complete"
    assert _judge_job(trained, tmp_path / "parts", CLEAN)["outcome"] == "complete"
    for asked in (1, 5, 40):
        with pytest.raises(Paused):
            _judge_job(trained, tmp_path / "parts", "apgd-ce", interrupted=asked, session=str(asked))
        assert not list(tmp_path.glob("parts/*/apgd-ce-*"))
    assert _judge_job(trained, tmp_path / "parts", "apgd-ce", session="whole")["outcome"] == "complete"
    (one,), (two,) = (list(tmp_path.glob(f"{name}/validation-*")) for name in ("whole", "parts"))
    whole, parts = read_shard(one, "apgd-ce", 0), read_shard(two, "apgd-ce", 0)
    assert whole is not None
    assert parts is not None
    assert (whole.broken == parts.broken).all()
    assert (whole.predicted == parts.predicted).all()


def test_a_judge_job_as_rand_is_another_judgement(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    assert _judge_job(trained, tmp_path, CLEAN, max_failures=0)["outcome"] == "complete"
    assert _judge_job(trained, tmp_path, CLEAN, max_failures=0, version="rand")["outcome"] == "complete"
    assert {path.name.split("-")[1] for path in tmp_path.glob("validation-*")} == {"standard", "rand"}


def test_a_judge_job_that_cannot_be_done_says_why(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    assert _judge_job(trained, tmp_path, CLEAN)["outcome"] == "complete"
    for session, (stage, changes, cause) in enumerate(
        [
            (CLEAN, {"weights": "0" * 64}, "the record says 000000000000"),
            ("apgd-t", {}, "needs the verdicts of apgd-ce on shard 0"),
            (CLEAN, {"folder": str(tmp_path)}, "no checkpoint"),
        ]
    ):
        said = _judge_job(trained, tmp_path, stage, **{"session": str(session), **changes})  # type: ignore[arg-type]
        assert (said["outcome"], said["done"]) == ("failed", True)
        assert cause in said["cause"]


def test_a_probe_finds_a_shard_size(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many images as fit; a trial that cannot be loaded is no reason to stop, the usual size will do."""
    work = {"kind": "probe", "folder": str(trained[0]), "cpus": 1.0, "gpus": 0.0, "session": "one", "max_failures": 2}
    said = open_task(work).step()
    assert said.pop("device_seconds") > 0
    assert said == {"outcome": "complete", "done": True, "training_iteration": 1, "shard_size": shard_size.ON_CPU}
    _, model, _ = load_model(trained[0], "cpu")
    need = shard_size.bytes_per_image(model, torch.rand(8, 1, 8, 8))
    free = int(31 * need / shard_size.SHARE)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    for there, fits in ((1, 30), (2, 8)):  # on a CPU, as many workers share the memory as there are cores for
        monkeypatch.setattr(processors, "cores", lambda there=there: there)
        assert open_task(work).step()["shard_size"] == fits
    lost = open_task(work | {"folder": str(tmp_path)}).step()
    assert (lost["outcome"], lost["done"]) == ("failed", True)
    assert "no checkpoint" in lost["cause"]


@pytest.mark.parametrize("backend", [local.Local])
def test_a_backend_ends_when_the_queue_does(backend: type[local.Local]) -> None:
    assert backend().run(Told(0)) is False


def test_a_job_that_was_interrupted_leaves_no_gradients_off() -> None:
    """A hang is interrupted at any instruction, between the two halves of a context too."""
    before = torch.is_grad_enabled(), torch.get_num_threads()
    try:
        torch.set_grad_enabled(False)
        settle({"cpus": 1, "gpus": 0})
        assert torch.is_grad_enabled()
    finally:
        torch.set_grad_enabled(before[0])
        torch.set_num_threads(before[1])
