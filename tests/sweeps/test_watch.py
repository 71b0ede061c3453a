"""Jobs that hang: what is right for a step follows from the steps before, and what is frozen is seen from outside."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.pulse import TIMES
from sweeps.running import watch
from sweeps.running.local import Local
from sweeps.running.nodes import JobResumed, JobReturned, NodeNews
from sweeps.running.queues import DONE, End, Job, Result, Signal, Verdict
from sweeps.running.tasks.base import OneStep, Report
from sweeps.running.watch import ALIVE, SLACK, Frozen, Watch, hung


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(least=st.floats(0.1, 1e4), pauses=st.lists(st.floats(0, 1e4), min_size=1, max_size=8))
def test_patience_is_a_multiple_of_the_longest_pause_and_never_less_than_asked(
    least: float, pauses: list[float]
) -> None:
    clock = Clock()
    looked = Watch(least, lambda silent: None, clock=clock)
    looked.beat()  # the first tells nothing
    for pause in pauses:
        clock.now += pause
        looked.beat()
    assert looked.patience == pytest.approx(max(least, TIMES * max(pauses)), rel=1e-6)
    assert looked.silent == 0
    looked.again(2)
    assert looked.patience >= 4 * least


def test_a_job_that_lives_is_left_alone_and_one_that_hangs_is_told_of_once() -> None:
    told: list[float] = []
    hanging = threading.Event()

    def hang(silent: float) -> None:
        told.append(silent)
        hanging.set()

    alive = Watch(60, hang)
    with alive.at_work():
        for _ in range(40):
            time.sleep(0.01)
            alive.beat()
    assert not told
    with Watch(0.2, hang).at_work():
        hanging.wait(60)
    assert len(told) == 1
    assert told[0] > 0.2


def test_nobody_looks_where_no_patience_is_asked_for() -> None:
    looked = Watch(None, lambda silent: pytest.fail("looked"))
    with looked.at_work():
        looked.beat()
    looked = Watch(0.05, lambda silent: pytest.fail("looked"))
    with looked.at_work():
        looked.rest()
        time.sleep(0.2)


def test_a_frozen_worker_is_seen_by_its_file_and_the_drivers_own_absence_is_not(tmp_path: Path) -> None:
    work, driver = {"a": {"folder": str(tmp_path)}}, Frozen()
    (tmp_path / ALIVE).write_text("30 1.5")
    assert driver.silent(work, 0.0) == {}
    assert driver.silent(work, 1e6) == {}, "the machine slept"
    now = 1e6
    for second in range(1, 1000):
        now += 1
        if found := driver.silent(work, now):
            assert found["a"] > 30 + SLACK
            assert second > 30
            break
        if second < 20:
            (tmp_path / ALIVE).write_text(f"30 {second}")  # it is alive
    else:
        pytest.fail("never seen")
    assert second > 20 + 30
    assert str(hung(work["a"])).startswith("no sign of life for ")
    assert hung(work["a"]) is None, "told once"
    assert driver.silent(work, now + 10) == {}, "its file is gone"


class _Sleeps(OneStep):
    """Hangs the first time, in a system call."""

    lives = True

    def found(self) -> Report:
        self.count(self.folder / "attempts.json")
        if not (self.folder / "hung").exists():
            (self.folder / "hung").touch()
            time.sleep(10_000)
        return {"tried": 2}


class _One:
    """A queue of one job."""

    def __init__(self, job: Job) -> None:
        self.jobs, self.ends = [job], list[End]()

    def next(self) -> Job | Signal:
        return self.jobs.pop() if self.jobs else DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.ends.append(end)


def test_a_job_that_hangs_in_this_process_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.running import worker

    monkeypatch.setitem(worker._KINDS, "sleeps", _Sleeps)
    work: dict[str, Any] = {
        "kind": "sleeps",
        "folder": str(tmp_path),
        "session": "one",
        "max_failures": 2,
        "patience": 2.0,
    }
    queue, news = _One(Job("sleeps", 0, work)), list[NodeNews]()
    assert not Local(news.append).run(queue)
    assert [end.outcome for end in queue.ends] == ["complete"]
    assert [type(each) for each in news] == [JobReturned, JobResumed]
    assert '"deaths": 1' in (tmp_path / "attempts.json").read_text(), "it counts as an attempt"


def test_what_is_said() -> None:
    assert watch.told(3723) == "no sign of life for 1h2m"
