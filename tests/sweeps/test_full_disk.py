"""A disk that fills up at any byte: no line is glued to another, one line says why, and the same command goes on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.study import StudyDirection

import sweeps
from robustray.errors import UserError
from robustray.judging.plan import Plan
from robustray.verdicts import Shard, read_shard, write_shard
from sweeps import driver, record
from sweeps.record import JOURNAL, Issued, Judged, Record, journal
from sweeps.record.ledger import FILE as LEDGER
from sweeps.record.ledger import Ledger
from sweeps.record.ledger import read as spent
from sweeps.record.lines import Lines
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import BLOCKED, Report
from sweeps.running.tasks.train import TrainTask
from sweeps.space import Sweep
from tests.sweeps.full import enlarge, no_file_above, small_disk
from tests.sweeps.small import facts, small_sweep

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}


@given(lines=st.lists(st.text("ab\u00e9\udcfc", max_size=20), max_size=8), room=st.integers(0, 120), sync=st.booleans())
def test_lines_are_whole_and_end_with_the_first_that_does_not_fit(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], room: int, sync: bool
) -> None:
    path = tmp_path_factory.mktemp("lines") / "file"
    file, expected = Lines(path), b""
    encoded = [f"{line}\n".encode(errors="backslashreplace") for line in lines]
    with no_file_above(room):
        for line, data in zip(lines, encoded, strict=True):
            if len(expected) + len(data) > room:
                break
            file.append(f"{line}\n", sync=sync)
            expected += data
        else:
            assert path.exists() == bool(lines)
            return
        for later in ["x" * 200 + "\n", "\n"]:  # the second one would fit
            with pytest.raises(OSError, match="too large"):
                file.append(later, sync=sync)
    with pytest.raises(OSError, match="too large"):  # with room again too: what was refused is missing
        file.append("x\n")
    assert path.read_bytes() == expected
    Lines(path).append("x\n")
    assert path.read_bytes() == expected + b"x\n"


@pytest.mark.parametrize("away", ["renamed", "another in its place", "shorter"])
def test_a_record_whose_disk_came_loose_is_not_written_elsewhere(tmp_path: Path, away: str) -> None:
    """An empty folder lies in its place for a while: what would be written there is gone once it is back."""
    with Record(tmp_path, OBJECTIVES) as opened:
        opened.issue(Issued({"beta": 1.0}))
        before = (tmp_path / JOURNAL).read_bytes()
        (tmp_path / JOURNAL).rename(tmp_path / "away")
        if away != "renamed":
            (tmp_path / JOURNAL).write_bytes(b"" if away == "another in its place" else before[:-10])
        if away == "shorter":
            (tmp_path / "away").write_bytes(before[:-10])
            (tmp_path / "away").replace(tmp_path / JOURNAL)
        with pytest.raises(OSError, match="Stale file handle"):
            opened.finish(0, "complete", metrics=MEASURED)
        assert away != "renamed" or not (tmp_path / JOURNAL).exists()
        (tmp_path / "away").write_bytes(before)
        (tmp_path / "away").replace(tmp_path / JOURNAL)
        with pytest.raises(OSError, match="Stale file handle"):  # though it is back
            opened.finish(0, "complete", metrics=MEASURED)
    assert (tmp_path / JOURNAL).read_bytes() == before
    with Record(tmp_path, OBJECTIVES) as opened:
        opened.finish(0, "complete", metrics=MEASURED)


def _script(folder: Path) -> None:
    """A sweep's writes, told from wherever the record stands."""
    with Record(folder, OBJECTIVES) as opened:
        opened.setting("shard", 5)
        for number in range(3):
            if number == len(opened.trials()):
                opened.issue(Issued({"beta": number / 4, "label": "x" * 40}))
            if opened.trial(number).outcome is None:
                opened.finish(number, "complete", metrics=MEASURED, violations={"clean_accuracy": -0.1})
            if opened.judged(number, "validation") is None:
                opened.judge(number, "validation", Judged(10, 9, 4, "standard", True, "judgements/0000/x", 1.5))
        if opened.members() is None:
            opened.fix_members([0, 2], [0])


def _told(folder: Path) -> Any:
    known = record.read(folder)
    return [(t.params, t.outcome, t.metrics) for t in known.trials], known.judged, len(known.members), known.settings


def test_a_record_without_room_at_any_byte_is_whole_and_goes_on(tmp_path: Path) -> None:
    _script(tmp_path / "whole")
    size = (tmp_path / "whole" / JOURNAL).stat().st_size
    for room in range(0, size, 171):
        folder = tmp_path / str(room)
        with no_file_above(room), pytest.raises(OSError, match="too large"):
            _script(folder)
        left = (folder / JOURNAL).read_bytes() if (folder / JOURNAL).exists() else b""
        assert not left or left.endswith(b"\n")
        assert all(json.loads(line) for line in left.splitlines())
        _script(folder)
        assert _told(folder) == _told(tmp_path / "whole"), room


def test_every_write_after_a_failed_one_is_refused(tmp_path: Path) -> None:
    with Record(tmp_path, OBJECTIVES) as opened:
        opened.issue(Issued({"beta": 1.0}))
        before = (tmp_path / JOURNAL).read_bytes()
        with no_file_above(len(before) + 20), pytest.raises(OSError, match="too large"):
            opened.issue(Issued({"beta": 2.0}))
        with pytest.raises(OSError, match="too large"):  # though there is room now
            opened.finish(0, "complete", metrics=MEASURED)
    assert (tmp_path / JOURNAL).read_bytes() == before


def test_lines_of_a_ledger_without_room_wait_and_stop_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Ledger(tmp_path) as book:
        with no_file_above(120):
            for number in range(4):
                book.add({"kind": "train"}, f"trial {number:04d}", number, "complete", 1.0)
            assert (tmp_path / LEDGER).read_bytes().endswith(b"\n")
            found = spent(tmp_path)
            assert found is not None
            assert found.by_trial == {("train", 0): 1.0}
        book.add({"kind": "train"}, "trial 0004", 4, "complete", 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / LEDGER}: cannot be written (File too large); its lines wait until it can"
    ]
    found = spent(tmp_path)
    assert found is not None
    assert found.by_trial == {("train", number): 1.0 for number in range(5)}


def test_a_ledger_whose_disk_came_loose_is_not_written_in_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, away = tmp_path / "sweep", tmp_path / "away"
    place.mkdir()
    with Ledger(place) as book:
        book.add({"kind": "train"}, "trial 0000", 0, "complete", 1.0)
        place.rename(away)
        place.mkdir()
        book.add({"kind": "train"}, "trial 0001", 1, "complete", 1.0)
        assert not list(place.iterdir())
        place.rmdir()
        away.rename(place)
        book.add({"kind": "train"}, "trial 0002", 2, "complete", 1.0)
    assert [record.getMessage() for record in caplog.records] == [
        f"{place / LEDGER}: cannot be written (Stale file handle); its lines wait until it can"
    ]
    found = spent(place)
    assert found is not None
    assert found.by_trial == {("train", number): 1.0 for number in range(3)}


def test_a_checkpoint_without_room_blocks_the_trial_and_keeps_the_one_before(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "trial.schedule.epochs=3")
    (folder := tmp_path / "0000").mkdir()
    params = next(iter(sweep.examples()))
    (folder / "trial.yaml").write_text(params.to_yaml())
    work = {"folder": str(folder), "session": "one", "max_failures": 1, "cpus": 1, "gpus": 0}
    first = TrainTask(work)
    assert first.step()["epoch"] == 1
    kept = (folder / "last.pt").read_bytes()
    with no_file_above(len(kept) // 2):
        told = first.step()
    assert told["outcome"] == BLOCKED
    assert "larger than is allowed" in told["cause"]
    assert {path.read_bytes() for path in folder.glob("*.pt") if not path.name.startswith("best")} == {kept}
    assert TrainTask({**work, "session": "two"}).step()["epoch"] in (1, 2), "said again, or gone on from there"


# Whole sweeps, on a file system that is too small.


def _answers(sweep: Sweep, job: Job) -> Iterator[tuple[float, Report]]:
    """As workers would answer: accuracies by number, verdicts by an order of images that all trials share."""
    work, number = job.work, job.number
    clean = (60 + (37 * number) % 40) / 100
    report: dict[str, Any] = {"outcome": "complete", "done": True, "training_iteration": 1}
    if work["kind"] == "train":
        weights = hashlib.sha256(str(number).encode()).hexdigest()
        robust = 1.2 - clean
        report |= {"epoch": 1, "epochs": 1, "clean_accuracy": clean, "robust_accuracy": robust, "weights": weights}
    elif work["kind"] == "judge":
        plan = Plan.of(sweep.judge, str(work["weights"]), work["split"], shard_size=int(work["shard_size"]))
        folder, stage, shard = plan.folder(Path(work["judgements"])), str(work["attack"]), int(work["shard"])
        rows = plan.shard(shard)
        standing = np.ones(len(rows), bool)
        for name in plan.before(stage):
            before = read_shard(folder, name, shard)
            assert before is not None
            standing &= ~np.isin(rows, before.image[before.broken])
        share = {"clean": clean}.get(stage, 1.1 - clean)
        broken = (np.arange(len(rows)) / len(rows) >= share)[standing]
        image = rows[standing].astype(np.int32)
        zeros = np.zeros(len(image), np.int16)
        made = Shard(
            stage, shard, image, zeros, broken.astype(np.int16), broken, (~broken).astype(np.float32), {"seconds": 1.0}
        )
        write_shard(folder, made)
        report |= {"broken": int(broken.sum()), "seconds": 1.0, "flags": []}
    else:
        report |= {"shard_size": 500}
    yield 1.0, report


def _run(sweep: Sweep, folder: Path, said: list[str]) -> bool:
    return sweeps.run(sweep, folder, "local", write=said.append)


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Sweep:
    sweep = small_sweep(tmp_path, "search.trials=4", "disk.wait=null")
    monkeypatch.setattr(driver, "_place", lambda *_: Simulated(lambda job: _answers(sweep, job), slots=2))
    return sweep


def test_a_disk_that_fills_up_at_any_moment_of_a_sweep(tmp_path: Path, simulated: Sweep) -> None:
    assert _run(simulated, tmp_path / "small", [])
    undisturbed, failed = facts(tmp_path / "small"), 0
    for kib in range(0, 4000, 8):
        said: list[str] = []
        with small_disk(tmp_path / f"disk{kib}", kib or 4) as disk:
            try:
                finished = _run(simulated, disk / "small", said)
            except UserError as error:
                failed += 1
                assert "no space left on the disk; free some" in str(error)  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
                enlarge(disk, 4000)
                assert _run(simulated, disk / "small", said)
                assert facts(disk / "small") == undisturbed, kib
                continue
            assert finished
            assert facts(disk / "small") == undisturbed
            break
    assert failed > 10, "there was room at once, or never"


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kib", [40, 220])
def test_a_disk_that_fills_up_on_ray(tmp_path: Path, kib: int) -> None:
    """Workers write checkpoints while the driver appends: whoever is first stops the sweep, and no trial is failed for good."""
    sweep = small_sweep(tmp_path, "search.trials=4", "disk.wait=null")
    said: list[str] = []
    with small_disk(tmp_path / "disk", kib) as disk:
        with pytest.raises(UserError, match="no space left on the disk; free some"):
            sweeps.run(sweep, disk / "small", "ray", write=said.append)
        if (disk / "small" / JOURNAL).exists() and (disk / "small" / JOURNAL).stat().st_size:
            assert not [trial for trial in record.read(disk / "small").trials if trial.outcome == "failed"]
        enlarge(disk, 64_000)
        assert sweeps.run(sweep, disk / "small", "local", write=said.append), "wherever it goes on"
        assert [trial.outcome for trial in record.read(disk / "small").trials] == ["complete"] * 4


def test_storage_that_takes_no_more_while_the_journal_is_locked_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's own lock calls that a lock which it did not possess."""

    def refused(before: str, after: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), before)

    store = journal.storage(tmp_path / journal.JOURNAL)
    monkeypatch.setattr(os, "rename", refused)
    with pytest.raises(OSError, match="Read-only file system"):
        store.create_new_study([StudyDirection.MAXIMIZE], "sweep")
