"""Who is told of what happens, where device time goes, and a place on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.events import Bus, Event, JobBegun, JobEnded, JobHeard, Said, Watched
from sweeps.listeners.accounts import Accounts
from sweeps.record import ledger
from sweeps.record.ledger import Ledger
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report


class Jobs:
    """A queue of so many jobs, each of which is stopped after so many reports."""

    def __init__(self, count: int, patience: int = 100) -> None:
        self.left = [Job(f"trial {n}", n, {"kind": "train"}) for n in range(count)]
        self.patience = patience
        self.running: dict[str, int] = {}
        self.most = 0
        self.ends: list[tuple[int, End]] = []

    def next(self) -> Job | Signal:
        if not self.left:
            return WAIT if self.running else DONE
        job = self.left.pop(0)
        self.running[job.name] = 0
        self.most = max(self.most, len(self.running))
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        self.running[job.name] += 1
        return "stop" if self.running[job.name] >= self.patience else "go"

    def finish(self, job: Job, end: End) -> None:
        del self.running[job.name]
        self.ends.append((job.number, end))


def answers(job: Job) -> Iterator[tuple[float, Report]]:
    """Job n reports n times, a second each, and ends in half of one."""
    for epoch in range(job.number):
        yield 1.0, {"done": False, "epoch": epoch}
    yield 0.5, {"done": True, "outcome": "complete"}


def test_a_listener_that_fails_hurts_nobody_and_is_not_told_again() -> None:
    told: list[str] = []
    failed: list[Event] = []

    def fails(event: Event) -> None:
        failed.append(event)
        raise OSError("the disk is full")

    bus = Bus(fails)
    bus.add(lambda event: told.append(str(event)))
    bus(Said("one"))
    bus(Said("two"))
    assert len(failed) == 1
    assert len(told) == 2


@given(jobs=st.integers(0, 12), slots=st.integers(1, 5), patience=st.integers(1, 8))
def test_every_job_ends_once_on_as_many_slots_as_there_are(jobs: int, slots: int, patience: int) -> None:
    queue, place, seen = Jobs(jobs, patience), Simulated(answers, slots), list[Event]()
    assert place.run(Watched(queue, seen.append)) is False
    assert sorted(number for number, _ in queue.ends) == list(range(jobs))
    assert queue.most == min(jobs, slots)
    for number, end in queue.ends:
        stopped = number >= patience
        assert end.outcome == ("stopped" if stopped else "complete")
        assert end.device_seconds == (patience if stopped else number + 0.5)
    longest = max((end.device_seconds for _, end in queue.ends), default=0)
    spent = sum(end.device_seconds for _, end in queue.ends)
    assert max(longest, spent / slots) <= place.now <= spent, "time passes as the answers say"
    assert (
        sum(isinstance(event, JobBegun) for event in seen) == sum(isinstance(event, JobEnded) for event in seen) == jobs
    )
    assert sum(isinstance(event, JobHeard) for event in seen) == sum(min(number, patience) for number in range(jobs))


def test_a_queue_that_waits_for_nothing_is_an_error() -> None:
    queue = Jobs(0)
    queue.running["a ghost"] = 0
    with pytest.raises(RuntimeError, match="nothing is running"):
        Simulated(answers).run(queue)


def test_every_device_second_is_written_down_also_of_what_had_not_ended(tmp_path: Path) -> None:
    train, judge = (Job(kind, number, {"kind": kind}) for number, kind in enumerate(("train", "judge")))
    with Ledger(tmp_path) as book, Accounts(book) as accounts:
        for job in (train, judge):
            accounts(JobBegun(job))
        accounts(JobHeard(train, {"device_seconds": 2.0}))
        accounts(JobHeard(judge, {"device_seconds": 3.0}))
        accounts(JobEnded(train, End("failed", "its process died", {})))
    spent = ledger.read(tmp_path)
    assert spent is not None
    assert dict(spent.by_trial) == {("train", 0): 2.0, ("judge", 1): 3.0}, (
        "what a dead process had told, and what stops"
    )
    lines = (tmp_path / ledger.FILE).read_text().splitlines()
    assert [line.split(",")[3] for line in lines] == ["outcome", "failed", "interrupted"]


def test_a_torn_line_of_the_ledger_costs_itself(tmp_path: Path) -> None:
    assert ledger.read(tmp_path) is None, "folders of before have none"
    with Ledger(tmp_path) as book:
        book.add({"kind": "train"}, "trial, one", 1, "complete", 5.0)
    whole = (tmp_path / ledger.FILE).read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        (tmp_path / ledger.FILE).write_bytes(whole[:cut])
        with Ledger(tmp_path) as book:
            book.add({"kind": "judge"}, "judge", 1, "complete", 7.0)
        spent = ledger.read(tmp_path)
        assert spent is not None
        assert spent.by_kind["judge"] == 7.0
        assert spent.by_kind.get("train", 0.0) in (0.0, 5.0)
