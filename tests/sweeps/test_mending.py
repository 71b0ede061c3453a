"""A record that is damaged: where, what cutting keeps, and asks that nobody was ever given."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from typer.testing import CliRunner

from robustray.errors import UserError
from sweeps import record
from sweeps.__main__ import app
from sweeps.record import JOURNAL, Issued, Judged, Record, mending
from sweeps.record.lock import FolderLock
from sweeps.search.controller import Controller
from sweeps.search.stopping import first_in_first_out
from tests.sweeps.small import small_sweep

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sweep's folder with four trials that have ended and were judged, and their files."""
    made = tmp_path / "results" / "small"
    with Record(made, OBJECTIVES) as opened:
        for number in range(4):
            opened.issue(Issued({"beta": number / 4}), {"beta": FloatDistribution(0, 1)})
            for where in (opened.trial_folder(number), opened.judgements(number)):
                where.mkdir(parents=True)
                (where / "file").write_text(f"{where}")
            opened.finish(number, "complete", metrics=MEASURED)
            opened.judge(number, "validation", Judged(10, 9, 4, "standard", True, "judgements/x", 1.5))
        opened.fix_members([0], [0])
    return made


def _torn(line: bytes, after: bytes) -> bytes:
    return line[: len(line) // 2] + after


def _unknown(line: bytes, after: bytes) -> bytes:
    return json.dumps({**json.loads(line), "op_code": 99}).encode() + b"\n" + after


def _of_nobody(line: bytes, after: bytes) -> bytes:
    return b'{"op_code":8,"worker_id":"x","trial_id":77,"user_attr":{"outcome":{}}}\n' + after


DAMAGE: dict[str, Callable[[bytes, bytes], bytes]] = {
    "two in one, glued to each other": _torn,
    "no JSON": lambda line, after: b"\0" * len(line) + b"\n" + after,
    "no line of a record": lambda line, after: b"[]\n" + after,
    r"unknown \(operation 99; is it of another version of Optuna\?\)": _unknown,
    "of a trial that is not there": _of_nobody,
    r"no sequel to the lines before it \(KeyError\)": lambda line, after: b'{"op_code":8,"worker_id":"x"}\n' + after,
}


@pytest.mark.parametrize("why", DAMAGE)
def test_the_first_bad_line_is_found_and_all_of_it_is_kept(folder: Path, why: str) -> None:
    journal = folder / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    for bad in range(2, len(lines) - 1):
        data = b"".join([*lines[:bad], DAMAGE[why](lines[bad], lines[bad + 1]), *lines[bad + 2 :]])
        journal.write_bytes(data)
        with pytest.raises(UserError, match=rf"line {bad + 1} is {why}; python -m sweeps repair \S+ keeps"):
            Record(folder, OBJECTIVES)
        if why.startswith(("no", "unknown")):  # a reader passes over the others: the last line may be half written
            with pytest.raises(UserError, match=rf"not a readable record \(line {bad + 1} is {why}"):
                record.read(folder)
        found = mending.damage_of(journal)
        assert found is not None
        before = {path.read_text() for path in folder.rglob("file")}
        made = mending.cut(journal, found, f"cut-{bad}")
        assert journal.read_bytes() == b"".join(lines[:bad])
        assert journal.read_bytes() + made.tail.read_bytes() == data
        assert {path.read_text() for path in folder.rglob("file")} == before, "nothing is deleted"
        trials = record.read(folder).trials
        assert {int(path.name) for path in folder.glob("trials/*")} == {trial.number for trial in trials}
        assert {int(path.name) for path in folder.glob("judgements/*")} == {trial.number for trial in trials}
        for path in (folder / f"cut-{bad}").glob("*/*"):  # as they were, for the next line
            path.rename(folder / path.parent.name / path.name)


def test_repair_asks_says_what_is_lost_and_keeps_it(folder: Path) -> None:
    journal, command = folder / JOURNAL, ["repair", str(folder)]
    whole = journal.read_bytes()
    assert "nothing to mend" in CliRunner().invoke(app, command).output
    lines = whole.splitlines(keepends=True)
    begun = [number for number, line in enumerate(lines) if b'"op_code":4' in line]
    lines[begun[2]] = lines[begun[2]][:30]  # the ask of trial 2, glued to its outcome
    journal.write_bytes(damaged := b"".join(lines))
    for answer in ("n\n", ""):  # no; nobody there
        said = CliRunner().invoke(app, command, input=answer)
        assert isinstance(said.exception, UserError)
        assert journal.read_bytes() == damaged
    with FolderLock(folder):
        assert "another driver" in str(CliRunner().invoke(app, command, input="y\n").exception)
    said = CliRunner().invoke(app, command, input="y\n")
    assert f"line {begun[2] + 1} is two in one" in said.output
    assert f"kept: {begun[2]} lines (trials begun: 2, outcomes: 2, judgements: 2)" in said.output
    assert "(trials begun: 1, outcomes: 2, judgements: 2, openings of test: 1); now in " in said.output
    (tail,) = folder.glob(f"{JOURNAL}.cut-*")
    assert journal.read_bytes() + tail.read_bytes() == damaged
    (before,) = folder.glob(f"{JOURNAL}.before-cut-*")
    assert before.read_bytes() == damaged
    assert f"the record as it was: {before}" in said.output
    with Record(folder, OBJECTIVES) as opened:
        assert [trial.outcome for trial in opened.trials()] == ["complete"] * 2
        assert opened.issue(Issued({"beta": 0.1})) == 2


def test_a_record_of_which_nothing_is_left_is_not_cut(folder: Path) -> None:
    (folder / JOURNAL).write_bytes(b"]\n")
    said = CliRunner().invoke(app, ["repair", str(folder), "--yes"])
    assert "nothing comes before it; --fresh" in str(said.exception)
    assert (folder / JOURNAL).read_bytes() == b"]\n"


def _with_asks(journal: Path, asks: int) -> None:
    """Puts asks that were not finished before trial 3."""
    lines, kept = journal.read_bytes().splitlines(keepends=True), list[bytes]()
    for line in lines:
        log = json.loads(line)
        begun = sum(b'"op_code":4' in each for each in kept)
        if log["op_code"] == 4 and begun == 3:
            for number in range(asks):
                begin = {"op_code": 4, "worker_id": "x", "study_id": 0, "datetime_start": "2026-01-01T00:00:00+00:00"}
                param = {
                    "param_name": "x",
                    "param_value_internal": 0.5,
                    "distribution": distribution_to_json(FloatDistribution(0, 1)),
                }
                for each in (begin, {"op_code": 5, "worker_id": "x", "trial_id": 3 + number, **param}):
                    kept.append(json.dumps(each, separators=(",", ":")).encode() + b"\n")
        if log.get("trial_id", 0) >= 3:
            log["trial_id"] += asks
        kept.append(json.dumps(log, separators=(",", ":")).encode() + b"\n")
    journal.write_bytes(b"".join(kept))


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "qmc"])
@pytest.mark.parametrize("asks", [0, 1, 2])
def test_an_ask_that_nobody_was_given_is_told_wherever_it_stands(tmp_path: Path, sampler: str, asks: int) -> None:
    """As folders of before have them, where an ask was several lines. What is tried is what would have been without it."""
    sweep = small_sweep(tmp_path / "space", f"search.sampler={sampler}", "search.trials=20")

    def asked(folder: Path, lost: int) -> list[dict[str, object]]:
        for life in range(2):
            with Record(folder, OBJECTIVES) as opened:
                controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="a life")
                assert not controller.unfinished
                for _ in range(6):
                    number = controller.draw()
                    assert number is not None
                    controller.record.finish(number, "complete", metrics=MEASURED)
                    controller.study.learn(number)
            if life == 0:
                _with_asks(folder / JOURNAL, lost)
        trials = record.read(folder).trials
        gone = [trial for trial in trials if trial.origin == "lost"]
        assert [trial.number for trial in gone] == list(range(3, 3 + lost))
        for trial in gone:
            assert trial.outcome == "failed"
            assert "never handed out" in str(trial.cause)
        assert all(trial.outcome == "complete" for trial in trials if trial not in gone)
        return [dict(trial.params) for trial in trials if trial not in gone]

    assert asked(tmp_path / "some", asks) == asked(tmp_path / "none", 0)


def test_one_that_has_a_folder_was_handed_out(tmp_path: Path) -> None:
    with Record(tmp_path, OBJECTIVES) as opened:
        opened.study.ask()
        opened.issue(Issued({"beta": 0.5}))
        opened.trial_folder(0).mkdir(parents=True)
    with Record(tmp_path, OBJECTIVES) as opened:
        assert [trial.outcome for trial in opened.trials()] == [None, None]
