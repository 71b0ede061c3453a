"""Trials that a spent budget stopped wait again under a larger one: a function of the record, and told apart from others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import collect
from analysis.deciding.one_trial import about
from sweeps import record, standing
from sweeps.driver import drive
from sweeps.events import Event, Said
from sweeps.record import Record, TrialRecord, retrying
from sweeps.running.queues import Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search import states
from sweeps.search.controller import SPENT
from sweeps.search.field import Policy
from sweeps.search.halving import ParetoHalving
from sweeps.search.race import Race
from sweeps.space import Sweep
from sweeps.storage import layout
from sweeps.view.activity import Activity
from sweeps.view.overview import Overview
from sweeps.view.tally import Tally
from tests.sweeps import test_pausing
from tests.sweeps.paused import Killed, Kills, Oldest, untimed
from tests.sweeps.small import small_sweep


def answers(job: Job, diverging: float = 0.0) -> Iterator[tuple[float, Report]]:
    """A worker that leaves a checkpoint."""
    (Path(job.work["folder"]) / "last.pt").touch()
    yield from test_pausing.answers(job, diverging=diverging)


def searched(
    sweep: Sweep, folder: Path, policy: Policy, *, slots: int = 1, diverging: float = 0.0
) -> tuple[Sequence[TrialRecord], list[str]]:
    """The trials of a sweep that was driven to its end, whatever was there before, and the lines that it said."""
    events: list[Event] = []
    with Record(folder, sweep.objectives) as opened:
        place = Simulated(lambda job: answers(job, diverging), slots)
        assert drive(sweep, opened, lambda: place, policy=policy, tell=events.append)
        known = record.read(folder).trials
        assert untimed(known) == untimed(opened.snapshot().trials), "what is on disk is what the driver knows"
    return known, [event.line for event in events if isinstance(event, Said)]


def of(tmp_path: Path, trials: int, *more: str) -> Sweep:
    return small_sweep(tmp_path, f"search.trials={trials}", *more, text=test_pausing.PAUSING)


def test_what_was_stopped_is_gone_on_with_beside_new_trials(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    first, lines = searched(of(tmp_path, 3), folder, Oldest())
    stopped = [trial.number for trial in first if trial.outcome == "stopped"]
    assert len(stopped) > 2
    assert not any("may go on" in line for line in lines)
    (folder / "trials" / f"{stopped[-1]:04d}" / "last.pt").unlink()
    again, lines = searched(of(tmp_path, 6), folder, Oldest())
    assert (
        f"{len(stopped) - 1} trials that were stopped when the budget was spent may go on; 1 has no checkpoint" in lines
    )
    assert again[stopped[-1]] == first[stopped[-1]], "pruned: it stays as it was"
    whole = [number for number in stopped if again[number].outcome == "complete"]
    assert whole
    for number in whole:
        trial = again[number]
        assert trial.taken_up
        assert [stop.epoch for stop in trial.stops] == [first[number].epoch]
        assert [rung.epoch for rung in trial.rungs] == [6, 13, 27]
        assert trial.rungs[:-1] == first[number].rungs, "what was measured before stands"
        assert trial.epoch == 27
        assert trial.metrics == trial.rungs[-1].metrics
    orders = [rung.order for trial in again for rung in trial.rungs]
    ends = [trial.order for trial in again if trial.outcome == "stopped"]
    ends += [stop.order for trial in again for stop in trial.stops]
    assert len({*orders, *ends}) == len([*orders, *ends]), "no order is given twice"
    assert len(again) > len(first), "and new ones begin"
    snapshot = record.read(folder)
    eligible = {trial.number for trial in standing.eligible(snapshot)}
    assert eligible == {trial.number for trial in again if trial.outcome == "complete"} >= set(whole)
    table = collect.table(snapshot).set_index("trial")
    assert table.loc[whole[0], "status"] == "complete"
    said = dict(about(folder, whole[0]))["before that"]
    before = f"stopped after {first[whole[0]].epoch} epochs, then taken up again"
    assert said.startswith(f"{before} by a larger budget; the first time because {SPENT} while it")
    assert table.loc[whole[0], "taken_up"] == before
    tally = Tally(of(tmp_path, 6))
    tally.update(snapshot, Activity())
    assert Overview.of(tally, Activity()).taken_up == sum(trial.taken_up for trial in again)
    third, _ = searched(of(tmp_path, 6), folder, Oldest())
    assert untimed(third) == untimed(again), "without a larger budget nothing is taken up"


def test_one_that_is_stopped_again_may_be_taken_up_once_more(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    for trials in (2, 3, 4, 6):
        known, _ = searched(of(tmp_path, trials), folder, Oldest(4))
    assert max(len(trial.stops) for trial in known) >= 2
    assert all(trial.outcome in ("complete", "stopped") for trial in known)
    paid = sum(trial.paid for trial in known) / test_pausing.EPOCHS
    assert 6 <= paid < 6 + 14 / 27, "the budget counts what was trained, in however many lives"


@pytest.mark.parametrize(("name", "every"), [("oldest", 2), ("race", 9), ("pareto_halving", 7)])
def test_a_kill_at_any_write_of_an_extended_sweep_changes_no_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, every: int
) -> None:
    sizes = (3, 5) if name == "race" else (2, 4)
    small, large = (of(tmp_path, trials) for trials in sizes)

    def policy() -> Policy:
        if name == "race":
            return Race(large.space, large.ask)
        return ParetoHalving() if name == "pareto_halving" else Oldest(2)

    def begun(folder: Path) -> int:
        searched(small, folder, policy())
        return len((folder / record.JOURNAL).read_text().splitlines())

    before = begun(tmp_path / "undisturbed")
    undisturbed = untimed(searched(large, tmp_path / "undisturbed", policy())[0])
    assert any(trial.stops for trial in undisturbed)
    writes = len((tmp_path / "undisturbed" / record.JOURNAL).read_text().splitlines()) - before
    for number in range(1, writes + 1, every):
        folder, after = tmp_path / f"{number}", bool(number % 2)
        begun(folder)
        with monkeypatch.context() as patch:
            Kills(patch, number, after=after)
            with contextlib.suppress(Killed):
                searched(large, folder, policy())
        assert untimed(searched(large, folder, policy())[0]) == undisturbed, (number, after)


def test_those_that_were_given_up_and_those_of_another_outcome_stay(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    kept = ("stopping.keep_paused=2",)
    first, _ = searched(of(tmp_path, 3, *kept), folder, Oldest(4, keep=2), diverging=0.2)
    again, _ = searched(of(tmp_path, 5, *kept), folder, Oldest(4, keep=2), diverging=0.2)
    back = {trial.number for trial in again if trial.stops}
    assert back == {trial.number for trial in first if str(trial.cause).startswith(SPENT)}
    assert {str(trial.outcome) for trial in first} >= {"diverged", "stopped"}


def test_a_budget_that_is_spent_takes_nothing_back(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    searched(of(tmp_path, 3), folder, Oldest())
    with Record(folder, of(tmp_path, 3).objectives) as opened:
        opened.setting("budget/device_hours=2", "2 of 2 device-hours spent")
    again, _ = searched(of(tmp_path, 6, "budget.device_hours=2"), folder, Oldest())
    assert not any(trial.stops for trial in again)
    more, _ = searched(of(tmp_path, 6, "budget.device_hours=4"), folder, Oldest())
    assert any(trial.taken_up for trial in more)


def test_one_that_breaks_after_it_was_taken_up_can_be_retried(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    first, _ = searched(of(tmp_path, 3), folder, Oldest())
    number = next(trial.number for trial in first if trial.outcome == "stopped")
    with Record(folder, of(tmp_path, 3).objectives) as opened:
        opened.take_back([number])
        opened.send(number, 2, epoch=27, epochs=27)
        opened.finish(number, "failed", metrics={}, cause="broken")
    known = record.read(folder)
    assert known.trials[number].outcome == "failed"
    assert number in layout.known((folder / record.JOURNAL).read_bytes()).ended
    assert retrying.again(known, ["failed"]) == [number]
    retrying.put_back(folder / record.JOURNAL, [number], "before")
    put = record.read(folder).trials[number]
    assert (put.state, put.taken_up, len(put.stops)) == ("running", True, 1)
    assert number not in layout.known((folder / record.JOURNAL).read_bytes()).ended
    assert untimed([record.read(folder).trials[other.number] for other in first if other.number != number]) == untimed(
        [other for other in first if other.number != number]
    )
    last, _ = searched(of(tmp_path, 4), folder, Oldest())
    assert last[number].outcome == "complete"
    assert replace(last[number], stops=()).rungs[-1].epoch == 27


def test_a_state_that_lies_elsewhere_is_one_to_go_on_from(tmp_path: Path) -> None:
    assert not states.kept(tmp_path)
    (tmp_path / ".elsewhere").write_text('{"url": "file:///x", "up": 2, "files": {"trials/0001/best-3.pt": 5}}')
    assert not states.kept(tmp_path)
    (tmp_path / ".elsewhere").write_text('{"url": "file:///x", "up": 2, "files": {"trials/0001/last.pt": 5}}')
    assert states.kept(tmp_path)
    (tmp_path / ".elsewhere").write_text("[]")
    assert not states.kept(tmp_path)
    (tmp_path / "previous.pt").touch()
    assert states.kept(tmp_path)
