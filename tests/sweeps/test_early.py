"""What is likely to be on the frontier is judged while others train: early, never twice, and with the same frontier."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sweeps
from robustray.verdicts import CLEAN, Shard
from sweeps import record
from sweeps.driver import drive
from sweeps.judging.judgement import Plans, folder_of
from sweeps.judging.queue import Judging
from sweeps.judging.shards import FILES, Memory, Shards
from sweeps.record import Record
from sweeps.running import packing
from sweeps.running.local import Local
from sweeps.running.queues import DONE, WAIT, Beside, Chain, End, Job, Result, Signal, Sized, Verdict
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.controller import Controller
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep

TEXT = SPACE.replace("[apgd-ce]", "[apgd-ce, apgd-t, fab-t]").replace("trials: 5", "trials: 8")
HELD = TEXT + "constraints: {robust_accuracy: {min: 0.2}, cost_passes: {max: 1.9e6}}\n"


class Killed(BaseException):
    """What a kill is to the driver: nothing is told, nothing is closed."""


class Workers:
    """Answers jobs by what a trial's number says, into shards in memory; dies with the driver after so many jobs."""

    def __init__(self, sweep: Sweep, opened: Record, kept: Memory, jobs: int | None = None) -> None:
        self.opened, self.kept, self.jobs = opened, kept, jobs
        self.plans = Plans(sweep.judge)
        self.begun: list[str] = []

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        chance = random.Random(job.number)
        clean, robust = chance.uniform(0.5, 1), chance.uniform(0.1, 0.5)
        if job.work["kind"] == "train":
            costs = {"cost_seconds": 9.0, "cost_device_hours": 9 / 3600, "cost_passes": chance.choice([1e6, 2e6])}
            values = {"clean_accuracy": clean, "robust_accuracy": robust + chance.uniform(0, 0.2), **costs}
            told: dict[str, Any] = {"epoch": 1, "weights": f"{job.number:064x}", **values}
        elif job.work["kind"] == "judge":
            told = self._attacked(
                job, {CLEAN: 1 - clean, "apgd-ce": (clean - robust) * 0.9}.get(job.work["attack"], 0.02)
            )
        else:
            told = {"shard_size": 60}
        if self.jobs is not None and len(self.begun) >= self.jobs:
            raise Killed
        self.begun.append(job.name)
        yield (
            chance.uniform(5, 9) if job.work["kind"] == "train" else 1.0,
            {"outcome": "complete", "done": True, **told},
        )

    def _attacked(self, job: Job, share: float) -> dict[str, Any]:
        work = job.work
        plan = self.plans.of(self.opened.trial(job.number), work["split"], work["shard_size"])
        folder = folder_of(plan, self.opened.judgements(job.number))
        image = plan.shard(work["shard"]).astype(np.int32)
        count = round(share * len(image))
        for earlier in plan.before(work["attack"]):
            before = self.kept.read(folder, earlier, work["shard"])
            assert before is not None
            image = before.survivors
        broken = np.arange(len(image)) < count
        label, correct = np.zeros(len(image), np.int16), 1 - broken.astype(np.float32)
        info = {"seconds": 1.0}
        self.kept.put(folder, Shard(work["attack"], work["shard"], image, label, label, broken, correct, info))
        return {"broken": int(broken.sum()), "seconds": 1.0}


def _said(snapshot: record.Snapshot) -> tuple[Any, ...]:
    """What a sweep found: trials, and members with their numbers."""
    trials = [(t.number, t.params, t.outcome, t.weights) for t in snapshot.trials]
    members = snapshot.members[-1].trials
    numbers = {key: (j.clean_correct, j.robust) for key, j in snapshot.judged.items() if key[0] in members}
    return trials, members, numbers


def _at_the_end(sweep: Sweep, opened: Record, shards: Shards = FILES) -> Chain:
    """The jobs of a sweep where judging begins when the last trial has been handed out."""
    controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")

    def training() -> bool:
        return bool(controller.running)

    return Chain(controller, Judging(sweep, opened, controller.heard, session="one", training=training, shards=shards))


@pytest.fixture(scope="module", params=[TEXT, HELD], ids=["free", "held"])
def sweep(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), text=request.param)


def _opened(folder: str, sweep: Sweep) -> Record:
    return Record(Path(folder), sweep.objectives, constraints=sweep.constraints)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**16), slots=st.integers(1, 4))
def test_chance_finds_the_same_as_with_judging_at_the_end(sweep: Sweep, seed: int, slots: int) -> None:
    this = sweep.model_copy(update={"search": sweep.search.model_copy(update={"seed": seed})})
    found = []
    for early in (True, False):
        with tempfile.TemporaryDirectory() as folder, _opened(folder, this) as opened:
            kept = Memory()
            workers = Workers(this, opened, kept)
            place = Simulated(workers, slots)
            if early:
                assert drive(this, opened, lambda place=place: place, shards=kept)  # type: ignore[misc]
            else:
                assert not place.run(_at_the_end(this, opened, kept))
            last = max(at for at, name in enumerate(workers.begun) if name.startswith("trial"))
            first = min(at for at, name in enumerate(workers.begun) if name.startswith("judge"))
            assert len(workers.begun) == len(set(workers.begun)), "nothing is done twice"
            assert (first < last) == early
            found.append(_said(opened.snapshot()))
    assert found[0] == found[1]


@settings(max_examples=6, deadline=None)
@given(kills=st.lists(st.integers(1, 40), min_size=1, max_size=3), slots=st.integers(1, 4))
def test_a_killed_driver_decides_as_the_undisturbed_one(sweep: Sweep, kills: list[int], slots: int) -> None:
    found = []
    for plan in ([], kills):
        with tempfile.TemporaryDirectory() as folder:
            kept, begun = Memory(), list[str]()
            for jobs in [*plan, None]:
                with _opened(folder, sweep) as opened:
                    workers = Workers(sweep, opened, kept, jobs)
                    with contextlib.suppress(Killed):
                        drive(sweep, opened, lambda: Simulated(workers, slots), shards=kept)  # noqa: B023
                    begun += workers.begun
                    snapshot = opened.snapshot()
            assert len(begun) - len(set(begun)) <= slots * len(plan), "only what was in flight is done again"
            found.append(_said(snapshot))
    assert found[0] == found[1]


def test_tpe_learns_of_judged_numbers_while_trials_are_handed_out(tmp_path: Path) -> None:
    """What the record says when a trial is asked for is what its sampler learns from: so resume asks the same."""
    this = small_sweep(tmp_path / "space", "search.sampler=tpe", text=TEXT)
    kept, seen = Memory(), dict[int, int]()
    with _opened(str(tmp_path / "record"), this) as opened:
        workers = Workers(this, opened, kept)

        def watching(job: Job) -> Iterator[tuple[float, Report]]:
            if job.work["kind"] == "train":
                snapshot = opened.snapshot()
                seen[job.number] = len(snapshot.reached) + len(snapshot.judged) + len(snapshot.skipped)
            return workers(job)

        assert drive(this, opened, lambda: Simulated(watching, 2), shards=kept)
        assert seen[7] >= 2
        assert opened.snapshot().members


class Plain:
    """A queue of jobs without any meaning, of which some are worth doing early."""

    def __init__(self, name: str, jobs: int) -> None:
        self.ahead = [Job(f"{name} {number}", number, {}) for number in range(jobs)]
        self.ended: list[str] = []

    def next(self) -> Job | Signal:
        return self.ahead.pop(0) if self.ahead else DONE

    def early(self) -> Job | None:
        return self.ahead.pop(0) if self.ahead else None

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.ended.append(job.name)


@given(slots=st.integers(1, 40), first=st.integers(0, 60), second=st.integers(0, 60), seed=st.integers(0, 99))
def test_at_most_one_job_in_four_is_early_and_all_are_done_once(slots: int, first: int, second: int, seed: int) -> None:
    train, judge, chance = Plain("trial", first), Plain("judge", second), random.Random(seed)
    queue, flying = Beside(train, judge), list[Job]()
    while True:
        found = queue.next() if len(flying) < slots else WAIT
        if isinstance(found, Job):
            early = found.name.startswith("judge") and train.ahead
            flying.append(found)
            beside = sum(job.name.startswith("judge") for job in flying)
            assert not early or beside <= max(1, len(flying) / 4)
            continue
        if not flying:
            break
        queue.finish(flying.pop(chance.randrange(len(flying))), End("complete"))
    expected = {f"trial {n}" for n in range(first)} | {f"judge {n}" for n in range(second)}
    assert sorted(train.ended + judge.ended) == sorted(expected)


def test_what_was_begun_goes_before_what_is_early() -> None:
    train, judge = Plain("trial", 3), Plain("judge", 1)
    queue = Beside(train, judge, pressing=lambda: len(train.ahead) > 1)
    names = [job.name for _ in range(4) if isinstance(job := queue.next(), Job)]
    assert names == ["trial 0", "trial 1", "judge 0", "trial 2"]


def test_a_real_sweep_is_judged_while_it_trains_and_finds_the_same(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "search.trials=4")
    assert run_quietly(sweep, tmp_path / "early")
    lines = (tmp_path / "early" / "events.log").read_text().splitlines()
    judged = min(at for at, line in enumerate(lines) if "  judged " in line)
    assert judged < max(at for at, line in enumerate(lines) if "  trial " in line)
    with Record(tmp_path / "end", sweep.objectives) as opened:
        opened.setting("shard_size", record.read(tmp_path / "early").settings["shard_size"])
        place = Local()
        share = packing.asked(sweep.resources, place.machine)
        assert share is not None
        assert not place.run(Sized(_at_the_end(sweep, opened), share, lambda line: None))
    assert facts(tmp_path / "end") == facts(tmp_path / "early")


def test_a_floor_under_robust_accuracy_is_kept_by_the_judge(tmp_path: Path) -> None:
    """The cheap attack is content with all; the judge with none: judging ends early, and nobody is a member."""
    text = SPACE + "constraints: {robust_accuracy: {min: 0.9}}\n"
    text = (
        text.replace("steps: 3}", "steps: 1}")
        .replace("eps: 0.1}", "eps: 0.02}")
        .replace("[apgd-ce]", "[apgd-ce, apgd-t]")
    )
    lines: list[str] = []
    assert sweeps.run(
        small_sweep(tmp_path, "search.trials=2", text=text), tmp_path / "small", "local", write=lines.append
    )
    snapshot = record.read(tmp_path / "small")
    for trial in snapshot.trials:
        judged = snapshot.judged.get((trial.number, "validation"))
        assert trial.feasible == (judged is not None and judged.robust_accuracy >= 0.9)
    assert snapshot.members[-1].trials == [trial.number for trial in snapshot.trials if trial.feasible]
    if not any(trial.feasible for trial in snapshot.trials):
        assert any(line.startswith("no trial keeps to the constraints; the nearest is trial") for line in lines)
