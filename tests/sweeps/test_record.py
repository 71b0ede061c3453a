"""The record survives whatever a killed driver leaves behind."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from robustray.errors import UserError
from sweeps import record
from sweeps.record import JOURNAL, Issued, Judged, Record, Skipped, repair
from sweeps.running.queues import End
from sweeps.search.controller import Controller
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from tests.sweeps.small import small_sweep

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}


def _opened(folder: Path) -> Record:
    return Record(folder, OBJECTIVES)


def _ask(sweep: Sweep, opened: Record) -> int:
    """The next trial, asked for and written down as a driver does that has just come to life."""
    number = Controller(sweep, opened, first_in_first_out, lambda event: None, session="a life").draw()
    assert number is not None
    return number


def _made(folder: Path, sweep: Sweep, trials: int) -> bytes:
    """A journal in which every trial but the last has ended; its bytes."""
    with _opened(folder) as opened:
        for number in range(trials):
            assert _ask(sweep, opened) == number
            if number < trials - 1:
                opened.finish(number, "complete", metrics=MEASURED)
    return (folder / JOURNAL).read_bytes()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    with _opened(tmp_path) as opened:
        for number in range(5):
            issued = Issued({"beta": number / 4, "label": "trades"})
            assert opened.issue(issued, {"beta": FloatDistribution(0, 1)}) == number
        opened.finish(0, "complete", metrics=MEASURED, epoch=3, weights="abc", violations={"clean_accuracy": -0.1})
        opened.finish(1, "complete", metrics=MEASURED, violations={"clean_accuracy": 0.2})
        opened.finish(2, "diverged", metrics={}, cause="loss is nan")
        opened.finish(3, "failed", metrics={"clean_accuracy": 0.1}, cause="KeyError: 'x'")
        judged = Judged(10, 9, 4, "standard", True, "judgements/0000/x", 1.5)
        opened.skip(1, Skipped(0, "apgd-ce", bound=3, images=10, clean_correct=9))
        opened.give_up_judging(2, "validation", "no checkpoint")
        opened.give_up_judging(0, "validation", "a passing fault")
        opened.judge(0, "validation", judged)
        event = opened.fix_members([0], [0])
        assert opened.setting("shard", 5) == 5
        assert opened.setting("shard", 7) == 5
    snapshot = record.read(tmp_path)
    assert [trial.outcome for trial in snapshot.trials] == ["complete", "complete", "diverged", "failed", None]
    assert [trial.feasible for trial in snapshot.trials] == [True, False, True, True, True]
    assert snapshot.trials[0].params["label"] == "trades"  # also what Optuna was never asked for
    assert snapshot.trials[0].weights == "abc"
    assert snapshot.trials[2].cause == "loss is nan"
    assert snapshot.judged == {(0, "validation"): judged}
    assert snapshot.skipped[1].dominator == 0
    assert snapshot.unjudged == {(2, "validation"): "no checkpoint"}, "judged in the end, it is forgotten"
    assert list(snapshot.members) == [event]
    study = optuna.load_study(
        study_name=record.STUDY,
        storage=optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / JOURNAL))),
    )
    states = [trial.state for trial in study.trials]
    assert states == [
        TrialState.COMPLETE,
        TrialState.COMPLETE,
        TrialState.PRUNED,  # the sampler learns to stay away from where training diverges
        TrialState.FAIL,
        TrialState.RUNNING,
    ]
    assert [trial.number for trial in study.best_trials] == [0]  # the infeasible one is not on Optuna's front


def test_causes_are_plain_lines_wherever_they_come_from(tmp_path: Path) -> None:
    """As an end that a worker tells, and as folders of before keep them: so tables and pages have no codes of a terminal."""
    raw, shown = "ValueError: \x1b[1mbad\x1b[0m\tshape\x07", "ValueError: bad shape "
    assert End("failed", raw).cause == End.of({}, cause=raw).cause == End.of({"cause": raw}).cause == shown
    with _opened(tmp_path) as opened:
        number = opened.issue(Issued({}), {})
        opened.finish(number, "failed", metrics={}, cause=raw)
        opened.give_up_judging(number, "validation", raw)
    snapshot = record.read(tmp_path)
    assert (snapshot.trials[0].cause, dict(snapshot.unjudged)) == (shown, {(number, "validation"): shown})


def test_a_second_driver_is_refused_and_let_in_later(tmp_path: Path) -> None:
    with _opened(tmp_path), pytest.raises(UserError, match=r"another driver .*process"):
        _opened(tmp_path)
    _opened(tmp_path).close()


def test_reading_needs_no_lock_and_writes_nothing(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    with _opened(tmp_path) as opened:
        _ask(sweep, opened)
        before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert len(record.read(tmp_path).trials) == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_no_record_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep here"):
        record.read(tmp_path)


def test_stale_locks_of_optuna_are_removed(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    _made(tmp_path, sweep, 2)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(tmp_path / JOURNAL)  # what a killed JournalFileBackend leaves
    with _opened(tmp_path) as opened:
        assert _ask(sweep, opened) == 2  # would wait 30 s, or for ever


def test_an_outcome_that_was_not_told_is_told(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    _made(tmp_path, sweep, 1)
    with _opened(tmp_path) as opened:
        opened.finish(0, "complete", metrics=MEASURED)
    journal = tmp_path / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))  # killed between the outcome and the tell
    assert record.read(tmp_path).trials[0].outcome == "complete"
    with _opened(tmp_path) as opened:
        assert opened.study.trials[0].state is TrialState.COMPLETE
        assert opened.study.trials[0].values == list(MEASURED.values())


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_journal_cut_at_any_byte_opens_and_goes_on_the_same(tmp_path: Path, sampler: str) -> None:
    """However little of the last ask is there, the same trial is asked again, with the same parameters."""
    sweep = small_sweep(tmp_path / "space", f"search.sampler={sampler}")
    whole = _made(tmp_path / "whole", sweep, 13)  # past TPE's ten random ones
    asked = record.read(tmp_path / "whole").trials[-1].params
    cut = tmp_path / "cut"
    cut.mkdir()
    repaired: dict[bytes, int] = {}
    begin = whole.rfind(b'"op_code":4')  # CREATE_TRIAL of the last ask
    for end in [*range(0, begin, 101), *range(whole.rfind(b"\n", 0, begin), len(whole) + 1)]:
        (cut / JOURNAL).write_bytes(whole[:end])
        repair(cut / JOURNAL)
        left = (cut / JOURNAL).read_bytes()
        assert whole.startswith(left)
        repaired[left] = end
    for left in repaired:  # many cuts are repaired to the same bytes
        (cut / JOURNAL).write_bytes(left)
        with _opened(cut) as opened:
            trials = opened.trials()
            assert [trial.number for trial in trials] == list(range(len(trials)))
            running = [trial for trial in trials if trial.outcome is None]
            assert len(running) <= 1
            assert all(trial.params for trial in trials)
            if len(trials) == 12 and not running:
                assert opened.trial(_ask(sweep, opened)).params == asked
    assert len(repaired) > 10


def test_suggestions_are_the_same_broken_or_unbroken(tmp_path: Path) -> None:
    """A sampler seeded once per process would repeat its first draws after every restart."""
    sweep = small_sweep(tmp_path / "space", "search.sampler=tpe")

    def asked(folder: Path, lives: list[int]) -> list[dict[str, object]]:
        for life in lives:
            with _opened(folder) as opened:
                for _ in range(life):
                    number = _ask(sweep, opened)
                    robust = 0.1 + 0.05 * (number % 7)
                    opened.finish(number, "complete", metrics={"clean_accuracy": 1 - robust, "robust_accuracy": robust})
        return [dict(trial.params) for trial in record.read(folder).trials]

    unbroken = asked(tmp_path / "unbroken", [16])
    broken = asked(tmp_path / "broken", [3, 1, 8, 4])
    assert unbroken == broken
    assert len({str(params) for params in unbroken}) == 16
