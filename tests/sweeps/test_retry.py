"""Trials that are put back: as if they had not ended, under their numbers, and nothing else is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from robustray.errors import UserError
from sweeps import record
from sweeps.__main__ import app
from sweeps.record import JOURNAL, Issued, Judged, Outcome, Record, Skipped, retrying
from sweeps.record.facts import TrialRecord
from sweeps.record.lock import FolderLock

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
MEASURED = {"clean_accuracy": 0.9, "robust_accuracy": 0.4}
OUTCOMES: tuple[Outcome, ...] = ("complete", "failed", "diverged", "out_of_memory", "stopped")


def _made(folder: Path, outcomes: list[Outcome]) -> Path:
    """A record of trials that ended so, the last one still at work."""
    with Record(folder, OBJECTIVES) as opened:
        for number, outcome in enumerate(outcomes):
            opened.issue(Issued({"beta": number / 4}))
            held = {"clean_accuracy": -0.1}
            opened.finish(
                number, outcome, metrics=MEASURED, cause=None if outcome == "complete" else "why", violations=held
            )
            if outcome == "complete":
                opened.judge(number, "validation", Judged(10, 9, 4, "standard", True, "judgements/x", 1.5))
        opened.issue(Issued({"beta": 9.0}))
        if "complete" in outcomes:
            opened.skip(outcomes.index("complete"), Skipped(0, "", 5, 9, 10))
    return folder


def _essence(trial: TrialRecord) -> tuple[object, ...]:
    return trial.number, trial.params, trial.outcome, trial.cause, trial.metrics, trial.seed


@given(
    outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=6), back=st.sets(st.sampled_from(OUTCOMES[1:4]))
)
def test_those_alone_are_as_if_they_had_not_ended(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[Outcome], back: set[Outcome]
) -> None:
    folder = _made(tmp_path_factory.mktemp("retry") / "small", outcomes)
    before, journal = record.read(folder), (folder / JOURNAL).read_bytes()
    numbers = retrying.again(before, back)
    assert numbers == [number for number, outcome in enumerate(outcomes) if outcome in back]
    aside = retrying.put_back(folder / JOURNAL, numbers, "before")
    assert aside.read_bytes() == journal
    with Record(folder, OBJECTIVES) as opened:
        for now, then in zip(opened.trials(), before.trials, strict=True):
            if now.number in numbers:
                assert (now.outcome, now.params, now.violations) == (None, then.params, {})
                opened.finish(now.number, "complete", metrics=MEASURED, violations={"clean_accuracy": -0.2})
            else:
                assert _essence(now) == _essence(then)
        assert opened.snapshot().judged == before.judged
        assert opened.snapshot().skipped == before.skipped
    again = record.read(folder)
    assert {again.trials[number].outcome for number in numbers} <= {"complete"}


def test_the_command(tmp_path: Path) -> None:
    folder = _made(tmp_path / "small", ["complete", "failed", "diverged"])
    told = CliRunner().invoke(app, ["retry", str(folder), "--failed"])
    assert told.exit_code == 0, told.output
    assert "trial 0001 put back; it failed: why" in told.output
    assert [trial.outcome for trial in record.read(folder).trials] == ["complete", None, "diverged", None]
    assert "nothing to put back" in CliRunner().invoke(app, ["retry", str(folder), "--failed"]).output
    for words, said in (
        ([], "which trials?"),
        (["--failed", "--trial", "2"], "trial 0002 is none of those that failed"),
    ):
        refused = CliRunner().invoke(app, ["retry", str(folder), *words])
        assert isinstance(refused.exception, UserError)
        assert said in str(refused.exception)
    with FolderLock(folder):
        assert "another driver" in str(CliRunner().invoke(app, ["retry", str(folder), "--diverged"]).exception)


def test_a_draw_that_no_trial_can_be_built_of_stays_as_it_is(tmp_path: Path) -> None:
    with Record(tmp_path, OBJECTIVES) as opened:
        opened.issue(Issued({}))
        opened.finish(0, "failed", metrics={}, cause=f"{retrying.INFEASIBLE}no such width")
    assert retrying.again(record.read(tmp_path), ["failed"]) == []
    assert json.loads((tmp_path / JOURNAL).read_bytes().splitlines()[0])
    with pytest.raises(UserError, match="there is no trial 7"):
        retrying.put_back(tmp_path / JOURNAL, [7], "before")
