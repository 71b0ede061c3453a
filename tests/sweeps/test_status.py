"""A sweep seen from outside: what its driver says, whether it is there, and what is shown when neither can be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from robustray.errors import UserError
from sweeps.__main__ import app
from sweeps.events import Bus, Concluded, JobBegun, JobEnded, JobHeard, Placed
from sweeps.record import JOURNAL, Issued, Judged, Record, ledger, liveness, lives
from sweeps.record import status as statuses
from sweeps.record.status import Point, Status, Work
from sweeps.running.queues import End, Job
from sweeps.view import outside
from sweeps.view.activity import Activity
from sweeps.view.console import Console
from sweeps.view.pulse import Pulse
from sweeps.view.status import status
from sweeps.view.watch import Watch
from tests.sweeps.small import small_sweep

JOB = Job("trial 0003", 3, {"kind": "train"})
ME: dict[str, Any] = {
    "host": "here",
    "machine": statuses.here(),
    "pid": os.getpid(),
    "begun": psutil.Process().create_time(),
}
CODES = "\x1b[31mred\x1b[0m"


def said(**more: Any) -> Status:
    return Status(**{"name": "small", "at": statuses.now(), "phase": "at work", **ME, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of three trials: one judged on test too, one that failed, one that nobody has begun."""
    sweep = small_sweep(tmp_path)
    made = tmp_path / "results" / "small"
    with Record(made, sweep.objectives) as record:
        for _ in range(3):
            record.issue(Issued({"defense": "natural", "schedule.lr": 0.1}))
        metrics = {"clean_accuracy": 0.9, "robust_accuracy": 0.5, "cost_seconds": 7200.0, "cost_device_hours": 2.0}
        record.finish(0, "complete", metrics=metrics, epoch=3, weights="a")
        record.finish(1, "failed", metrics={}, cause=f"{CODES}: no such thing", epoch=1)
        for split in ("validation", "test"):
            record.judge(0, split, Judged(100, 80, 40, "apgd-ce", False, "folder", 60.0))
    (made / "sweep.yaml").write_text(yaml.safe_dump({"space": sweep.resolved()}))
    (made / "events.log").write_text(f"one\n{CODES}\n")
    return made


def shown(folder: Path, *flags: str) -> str:
    result = CliRunner().invoke(app, ["status", str(folder), *flags], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


# What is written can be read; what cannot is no status.

numbers = st.floats(allow_nan=False, allow_infinity=False)
points = st.builds(
    Point,
    trials=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    values=st.dictionaries(st.sampled_from(["clean_accuracy", "cost_passes"]), numbers),
    judged=st.booleans(),
)


@settings(max_examples=20)
@given(front=st.lists(points, max_size=3), left=st.none() | st.floats(0, 1e9), beat=st.integers(0, 10**9))
def test_a_status_reads_as_it_was_written(front: list[Point], left: float | None, beat: int) -> None:
    status = said(frontier=tuple(front), left=left, beat=beat, jobs=(Work(name="a", kind="train", trial=1, seconds=2),))
    assert statuses.parse(status.model_dump_json().encode()) == status


@settings(max_examples=40)
@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inside: (
            st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(sorted(Status.model_fields)), inside)
        ),
        max_leaves=9,
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_what_is_no_status_is_none_and_no_exception(data: bytes) -> None:
    assert statuses.parse(data) is None


@pytest.mark.parametrize(
    "data",
    [b"[" * 200_000, b'{"format": 2}', b'{"pid": 1' + b"0" * 5000 + b"}", said().model_dump_json().encode()[:-5]],
    ids=["deep", "of another format", "a huge number", "torn"],
)
def test_a_status_that_wants_to_break_its_reader_is_none(data: bytes) -> None:
    assert statuses.parse(data) is None


def test_texts_of_a_status_are_plain_lines() -> None:
    read = statuses.parse(said(name=CODES, outcomes={CODES: 1}).model_dump_json().encode())
    assert read is not None
    assert (read.name, dict(read.outcomes)) == ("red", {"red": 1})


# Whether the driver is there.


def state(status: Status | None, wait: Callable[[float], None] = lambda seconds: None, at: Path = Path()) -> str:
    return liveness.driver(at, status, wait=wait).state


OLD = timedelta(hours=1)


def test_a_driver_on_this_machine_is_known_by_its_process() -> None:
    assert state(None) == "none"
    assert state(said()) == "at work"
    assert state(said(at=statuses.now() - OLD)) == "silent"
    assert state(said(begun=ME["begun"] - 100)) == "gone"  # another process has its number by now
    assert state(said(pid=2**22 + 1)) == "gone"
    assert state(said(phase="ended", pid=2**22 + 1)) == "ended"
    assert state(said(phase="stopped", pid=2**22 + 1)) == "stopped"


@pytest.mark.parametrize("skew", [-OLD, OLD], ids=["behind", "ahead"])
def test_of_another_machine_the_beat_counts_and_not_its_clock(tmp_path: Path, skew: timedelta) -> None:
    status = said(machine="another", at=statuses.now() + skew, beat=7)

    def beats(seconds: float) -> None:
        statuses.write(tmp_path, status.model_copy(update={"beat": 8}))

    assert state(status, at=tmp_path) == "silent"
    assert state(status, beats, tmp_path) == "at work"
    assert state(said(machine="another")) == "at work"


# The pulse.


def test_a_driver_says_what_it_is_at_until_it_ends(tmp_path: Path, folder: Path) -> None:
    sweep, heard = small_sweep(tmp_path), list[Status]()
    with Record(folder, sweep.objectives) as record:
        watch = Watch(sweep, folder, record.snapshot, Activity())

        def fails(status: Status) -> None:
            raise OSError("no space left")

        pulse = Pulse(watch, folder, [fails, heard.append], every=0.01)
        bus = Bus(watch.activity, pulse)
        with pulse:
            for event in (Placed("here", 2, None), JobBegun(JOB), JobHeard(JOB, {"epoch": 2, "epochs": 3})):
                bus(event)
            until = time.monotonic() + 60
            while not (heard and heard[-1].beat > 3 and heard[-1].jobs) and time.monotonic() < until:
                time.sleep(0.01)
            at_work = outside.look(folder)
            bus(JobEnded(JOB, End("complete")))
            bus(Concluded("all done"))
    assert [status.beat for status in heard] == list(range(1, len(heard) + 1))
    assert at_work.driver.state == "at work"
    assert [(job.name, job.epoch, job.epochs) for job in at_work.status.jobs] == [("trial 0003", 2, 3)]
    assert (heard[0].phase, heard[-1].phase) == ("at work", "ended")
    assert outside.look(folder).driver.state == "ended"


@pytest.mark.parametrize("error", [UserError("the disk is full"), KeyboardInterrupt()])
def test_a_driver_that_stops_says_so_and_why(tmp_path: Path, folder: Path, error: BaseException) -> None:
    sweep = small_sweep(tmp_path)
    with (
        Record(folder, sweep.objectives) as record,
        pytest.raises(type(error)),
        Console(lambda line: None).watching(sweep, record, noisy=False),
    ):
        raise error
    last = statuses.read(folder)
    assert last is not None
    assert (last.phase, last.error) == ("stopped", str(error) or None)
    assert "stopped in order" in shown(folder)


def test_workers_are_busy_while_jobs_work() -> None:
    now = 0.0
    activity = Activity(lambda: now)
    assert activity.busy(2) is None
    activity(JobBegun(JOB))
    now = 10.0
    activity(JobEnded(JOB, End("complete", device_seconds=9.0)))
    assert activity.busy(1) == 0.9
    assert activity.busy(2) == 0.45
    now = 50.0  # nothing is left to do: that is no idleness of the sweep's
    assert activity.busy(1) == 0.9


# What is shown.


def test_what_was_spent_never_falls_while_a_sweep_is_extended(tmp_path: Path, folder: Path) -> None:
    (folder / ledger.FILE).write_text("2026,train,0,complete,9000,trial 0000\n")  # more than the results know of
    (folder / lives.FILE).write_text("a,2026,600\n")
    now, sweep = 0.0, small_sweep(tmp_path)

    def costs() -> tuple[float, float]:
        seen = status(watch.frame("at work"), watch.snapshot, "at work")
        return seen.device_seconds, seen.worked

    before = outside.look(folder).status
    assert (before.device_seconds, before.worked, before.elapsed) == (9000, 600, 0)
    with Record(folder, sweep.objectives) as record:
        watch = Watch(sweep, folder, record.snapshot, Activity(lambda: now))
        now = 50.0
        assert costs() == (9000, 600), "what comes before the work is none"
        watch.placed()
        watch.activity(JobBegun(JOB))
        watch.activity(JobHeard(JOB, {"device_seconds": 20.0}))
        now = 80.0
        assert costs() == (9020, 630)
        watch.activity(JobEnded(JOB, End("failed", device_seconds=15.0)))
        assert costs() == (9020, 630)
    statuses.write(folder, said(pid=2**22 + 1, elapsed=80.0, worked=630.0, device_seconds=9020.0))  # killed unbooked
    after = outside.look(folder).status
    assert (after.device_seconds, after.worked, after.elapsed) == (9020, 630, 80)
    assert "10:30 of work" in shown(folder)


def test_without_a_driver_the_record_is_shown(folder: Path) -> None:
    found = json.loads(shown(folder, "--json"))
    assert found["driver"]["state"] == "none"
    assert (found["outcomes"], found["waiting"]) == ({"complete": 1, "failed": 1}, 3)
    assert [point["trials"] for point in found["frontier"]] == [[0]]
    assert found["frontier"][0]["values"]["robust_accuracy"] == 0.4
    assert found["hypervolume"] == pytest.approx(0.8 * 0.4)
    assert found["device_seconds"] == 7200 + 2 * 60
    assert found["failures"] == [{"trial": 1, "outcome": "failed", "cause": "red: no such thing", "last": []}]
    assert "\x1b" not in shown(folder)
    assert "no such thing" in shown(folder)


def test_of_a_driver_that_was_killed_the_record_is_shown_and_not_its_last_word(folder: Path) -> None:
    statuses.write(folder, said(pid=2**22 + 1, slots=5, jobs=(Work(name="a", kind="train", trial=1, seconds=2),)))
    seen = outside.look(folder)
    assert (seen.driver.state, seen.status.jobs, seen.status.slots) == ("gone", (), 5)
    assert seen.status.outcomes == {"complete": 1, "failed": 1}


def test_where_the_record_is_damaged_the_last_word_of_the_driver_is_shown(folder: Path) -> None:
    journal = folder / JOURNAL
    journal.write_bytes(b"nonsense\n" + journal.read_bytes())
    with pytest.raises(UserError, match="line 1 is no JSON"):
        outside.look(folder)
    statuses.write(folder, said(phase="stopped", wanted=77))
    seen = outside.look(folder)
    assert seen.status.wanted == 77
    assert "line 1" in seen.note


def test_a_torn_status_is_passed_over(folder: Path) -> None:
    (folder / statuses.FILE).write_bytes(b'{"format": 1, "na')
    assert outside.look(folder).status.outcomes == {"complete": 1, "failed": 1}


def test_a_watched_sweep_is_shown_again_and_again_until_its_driver_ends(folder: Path) -> None:
    command = [sys.executable, "-m", "sweeps", "status", str(folder), "--json", "--watch", "--every", "0.2"]
    statuses.write(folder, said(beat=1))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        views = [json.loads(watching.stdout.readline())]
        statuses.write(folder, said(beat=2, slots=7))
        while views[-1]["slots"] != 7:
            views.append(json.loads(watching.stdout.readline()))
        statuses.write(folder, said(beat=3, phase="ended"))
        views += map(json.loads, watching.stdout)
    assert watching.returncode == 0
    assert [view["driver"]["state"] for view in views] == ["at work"] * (len(views) - 1) + ["ended"]


@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
def test_where_no_sweep_is_one_line_says_so(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="RESULTS/NAME"):
        outside.look(tmp_path / "empty")


def test_looking_writes_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    shown(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_line_of_a_table_that_is_longer_than_csv_takes_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / lives.FILE).write_text(f"life,at,seconds\nabc,2026,60.0\n{'a' * 200_000},b,1\n")
    assert lives.read(tmp_path) == 60.0
    (tmp_path / ledger.FILE).write_text(f"2026,train,0,complete,1.5,x\n{'a' * 200_000},b,1\n")
    spent = ledger.read(tmp_path)
    assert spent is not None
    assert spent.total == 1.5
