"""Room: what a sweep may keep, what nothing reads again, and a full disk that is waited for."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from analysis import report
from robustray.errors import DiskFull, UserError
from robustray.training import cost
from robustray.training.trainer import Trainer
from sweeps import record
from sweeps.__main__ import app
from sweeps.record import Issued, Outcome, Record, quota, room, unneeded
from sweeps.record.quota import Quota
from sweeps.record.waiting import with_room
from sweeps.space.disk import described, size
from tests.sweeps.small import SPACE, run_quietly, small_sweep

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}
FILES = (
    "last.pt",
    "previous.pt",
    "damaged.pt",
    "best-0002.pt",
    "epoch-0001.pt",
    ".last.pt.123",
    "metrics.csv",
    "log.txt",
)
ENDS: tuple[Outcome | None, ...] = ("complete", "failed", "diverged", "stopped", None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep of a trial for each end, with all files that a trial may have, 1000 bytes each."""
    made = tmp_path / "small"
    with Record(made, OBJECTIVES) as opened:
        for number, outcome in enumerate(ENDS):
            opened.issue(Issued({"beta": float(number)}))
            opened.trial_folder(number).mkdir(parents=True)
            for name in FILES:
                (opened.trial_folder(number) / name).write_bytes(bytes(1000))
            if outcome is not None:
                opened.finish(number, outcome, metrics=MEASURED)
        opened.fix_members([0], [0])
    return made


def _left(folder: Path) -> list[set[str]]:
    return [{path.name for path in (folder / "trials" / f"{n:04d}").iterdir()} for n in range(len(ENDS))]


def test_what_may_go_is_no_result_and_of_nobody_who_goes_on(folder: Path) -> None:
    told = CliRunner().invoke(app, ["prune", str(folder)])
    assert told.exit_code == 0, told.output
    assert _left(folder) == [set(FILES)] * len(ENDS), "it only says so"
    assert "would delete 18 kB of" in told.output
    assert "--yes" in told.output
    CliRunner().invoke(app, ["prune", str(folder), "--yes"])
    complete = {"last.pt", "best-0002.pt", "epoch-0001.pt", "metrics.csv", "log.txt"}
    others = {"epoch-0001.pt", "metrics.csv", "log.txt"}
    assert _left(folder) == [complete, others, others, others, set(FILES)]
    assert "nothing to delete" in CliRunner().invoke(app, ["prune", str(folder), "--yes"]).output


def test_a_trial_whose_end_lies_in_the_state_before_the_last_keeps_it(folder: Path) -> None:
    (folder / "trials" / "0000" / "last.pt").unlink()
    assert not [each for each in unneeded.unneeded(folder, record.read(folder)) if each.path.parent.name == "0000"]


def test_a_quota_that_comes_near_deletes_what_prune_would_and_one_that_is_passed_stops(folder: Path) -> None:
    used = room.used(folder)
    with Record(folder, OBJECTIVES) as opened:
        said: list[str] = []
        Quota(opened, None, said.append).look()
        Quota(opened, 10 * used, said.append).look()
        assert _left(folder) == [set(FILES)] * len(ENDS)
        assert not said
        near = Quota(opened, used, said.append)
        near.look(0.0)
        assert len(said) == 1
        assert room.used(folder) == used - 18_000
        (folder / "trials" / "0004" / "last.pt").write_bytes(bytes(used + 1))
        near.look(1.0)  # not so soon again
        with pytest.raises(UserError, match=r"more than disk.quota, .*; raise it and run the same command again"):
            near.look(100.0)


def test_a_sweep_that_does_not_fit_its_quota_does_not_begin(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "search.trials=50", "disk={quota: 5500 kB}")
    with pytest.raises(UserError, match=r"disk.quota is 5.5 MB, but 50 trials of about .* kB .* take .*: [1-9]\d* fit"):
        quota.check(sweep, tmp_path / "small", fresh=False)
    quota.check(small_sweep(tmp_path, "search.trials=50", "disk.quota=1 GB"), tmp_path / "small", fresh=False)
    assert not (tmp_path / "small").exists()


def test_a_quota_counts_the_trials_that_wait(tmp_path: Path) -> None:
    """Of a sweep that pauses trials more begin than end, and each leaves a state until it is given up."""
    text = SPACE.replace("epochs: 3", "epochs: 12")
    more = ("search.trials=20", "disk={quota: 30 kB}")

    def check(stopping: str) -> None:
        quota.check(small_sweep(tmp_path, *more, f"stopping={stopping}", text=text), tmp_path / "small", fresh=False)

    with pytest.raises(UserError, match=r"but 20 trials of"):
        check("none")
    with pytest.raises(
        UserError, match=r"but up to 80 trials with those that wait, which stopping\.keep_paused bounds, of"
    ):
        check("{name: pareto_halving, rungs: [3, 6]}")
    with pytest.raises(UserError, match=r"but up to 23 trials with those that wait of"):
        check("{name: pareto_halving, rungs: [3, 6], keep_paused: 4}")


@pytest.mark.parametrize(
    "override", ["trial.optimiser={name: adamw}", "trial.optimiser={name: sgd}", "trial.averaging={name: ema}"]
)
def test_what_a_trial_is_said_to_keep_is_what_it_keeps(tmp_path: Path, override: str) -> None:
    """The moments of an optimiser are made at its first step, which is after the first checkpoint that could be measured."""
    more = ("trial.schedule.epochs=3", "trial.checkpoints={select: best_robust, every: 2}")
    sweep = small_sweep(tmp_path, "trial.model.width=16", override, *more)
    config = next(iter(sweep.examples()))
    home = tmp_path / "trial"
    Trainer(config, home, device="cpu", threads=1).run()
    late = sorted(path.name for path in home.glob("best-*.pt"))[:-1]  # goes with the state before the last
    really = sum(path.stat().st_size for path in home.iterdir() if path.name not in ("previous.pt", *late))
    assert cost.kept(config) == pytest.approx(really, rel=0.1)


def test_a_sweep_takes_what_was_said(tmp_path: Path) -> None:
    """Its folder at the end, without states that may be deleted."""
    sweep = small_sweep(
        tmp_path, "trial.model.width=16", "judge.trials=all", "search.trials=2", "trial.schedule.epochs=1"
    )
    folder = tmp_path / "small"
    assert run_quietly(sweep, folder)
    report.publish(folder, picture=False)
    really = room.used(folder) - sum(each.size for each in unneeded.unneeded(folder, record.read(folder)))
    each = quota._of_a_trial(sweep)
    assert quota.REPORT + 2 * each == pytest.approx(really, rel=0.2)
    states = sum(path.stat().st_size for path in folder.glob("trials/*/last.pt"))
    assert 2 * each == pytest.approx(states + room.used(folder / "judgements"), rel=0.2)


def test_a_disk_with_less_room_than_trials_take_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = small_sweep(tmp_path, "search.trials=50")
    free = [10**15]
    monkeypatch.setattr("shutil.disk_usage", lambda place: SimpleNamespace(free=free[0]))
    with monkeypatch.context() as plenty:
        plenty.setattr(quota, "_largest", lambda *a, **b: pytest.fail("no trial has to be built"))
        assert quota.check(sweep, tmp_path / "small", fresh=False) is None
    free[0] = 10**9
    assert quota.check(sweep, tmp_path / "small", fresh=False) is None
    free[0] = 6_000_000
    told = quota.check(sweep, tmp_path / "small", fresh=False)
    assert told is not None
    assert "50 trials take about" in told
    assert "6 MB are free" in told


@given(st.floats(1, 999), st.sampled_from(["B", "kB", "MB", "GB", "TB"]))
def test_sizes_are_read_as_they_are_said(number: float, unit: str) -> None:
    text = f"{number:.3g} {unit}"
    if "e" not in text:
        assert size(described(size(text))) == pytest.approx(size(text), rel=0.01, abs=1)


@pytest.mark.parametrize("text", ["20", "GB", "-1 GB", "1 XB", "1.5.2 GB", "", "1 GiBs", "1 ib"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size; write 20 GB"):
        size(text)


def test_binary_units() -> None:
    assert (size("1.5 GiB"), size("2kib"), size("7 B")) == (3 * 2**29, 2048, 7)


def test_a_life_that_finds_no_room_is_followed_by_another_once_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives, said, asked = 0, list[str](), list[int]()

    def live() -> bool:
        nonlocal lives
        lives += 1
        if lives == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if lives == 2:
            raise DiskFull("a worker found none")
        return True

    def waited(folder: Path, seconds: float, count: int) -> bool:
        asked.append(count)
        return True

    monkeypatch.setattr(room, "waited", waited)
    assert with_room(live, tmp_path, 60.0, said.append)
    assert (lives, len(said)) == (3, 4)
    assert asked[1] == 2 * asked[0], "what was enough a moment ago was not"
    assert "no space left" in said[0]
    assert "goes on by itself" in said[0]


@pytest.mark.parametrize(
    ("wait", "error"),
    [(None, OSError(errno.ENOSPC, "full")), (60.0, OSError(errno.EIO, "broken")), (60.0, UserError("a mistake"))],
)
def test_what_no_waiting_mends_is_raised(tmp_path: Path, wait: float | None, error: Exception) -> None:
    def live() -> bool:
        raise error

    with pytest.raises(type(error)) as raised:
        with_room(live, tmp_path, wait, pytest.fail)
    assert raised.value is error


def test_room_is_there_once_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.there(tmp_path, 4096)
    assert list(tmp_path.iterdir()) == []
    now = [0.0]

    def fallocate(file: int, begin: int, count: int) -> None:
        if now[0] < 12:
            raise OSError(errno.EDQUOT, "full")

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(os, "posix_fallocate", fallocate)
    assert not room.waited(tmp_path, 8.0, 4096, clock=lambda: now[0], sleep=sleep)
    assert room.waited(tmp_path, 100.0, 4096, clock=lambda: now[0], sleep=sleep)
    assert list(tmp_path.iterdir()) == []
