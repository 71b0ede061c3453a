"""Trials that are paused at rungs: what the record keeps, who goes on, and that a kill at any point changes nothing."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import collect, summary
from sweeps import record, standing
from sweeps.driver import drive
from sweeps.events import Event, TrialEnded, TrialPaused
from sweeps.record import Record, TrialRecord
from sweeps.running.queues import End, Job
from sweeps.running.simulated import Simulated
from sweeps.running.tasks.base import Report
from sweeps.search.controller import SPENT, Controller
from sweeps.search.field import Choice, Field, Nothing, Policy, Start
from sweeps.search.halving import ParetoHalving
from sweeps.search.progress import Progress, through
from sweeps.search.race import Race
from sweeps.search.study import Study
from sweeps.search.taking_up import GIVEN_UP
from sweeps.space import Sweep
from tests.sweeps.paused import Killed, Kills, Oldest, ToTheEnd, untimed
from tests.sweeps.small import SPACE, small_sweep

EPOCHS = 27
TEXT = (
    SPACE.replace("epochs: 3", f"epochs: {EPOCHS}")
    .replace("trials: 5", "trials: 3")
    .replace("images: {validation: 60, test: 80}", "trials: none")
)
PAUSING = TEXT + "stopping: {name: pareto_halving, rungs: [6, 13]}\n"


def answers(job: Job, *, diverging: float = 0.0) -> Iterator[tuple[float, Report]]:
    """A worker that has gone on from the trial's checkpoint: what it reports depends on the trial and its epoch alone."""
    chance = random.Random(job.number)
    end, speed = chance.uniform(0.4, 0.9), chance.uniform(1, 3)
    until = job.work.get("until", EPOCHS)
    seconds = speed * (until - {6: 0, 13: 6, EPOCHS: 13}[until])
    told: Report = {"epoch": until, "epochs": EPOCHS, "done": True, "training_iteration": until}
    costs = {"cost_seconds": speed * until, "cost_device_hours": speed * until / 3600, "cost_passes": 10.0 * until}
    values = {"clean_accuracy": end * until / EPOCHS, "robust_accuracy": (1 - end) * until / EPOCHS, **costs}
    if chance.random() < diverging:
        yield speed, {**told, "outcome": "diverged", "cause": "the loss is nan", "epoch": 3, **costs}
    elif until == EPOCHS:
        yield seconds, {**told, **values, "outcome": "complete", "weights": f"{job.number:064x}"}
    else:
        yield seconds, {**told, **values, "outcome": "paused"}


def searched(
    sweep: Sweep,
    folder: Path,
    policy: Policy,
    *,
    slots: int = 1,
    diverging: float = 0.0,
    tell: Any = lambda event: None,
) -> Sequence[TrialRecord]:
    """The trials of a sweep that has been driven to its end, whatever was there before."""
    with Record(folder, sweep.objectives) as opened:
        place = Simulated(lambda job: answers(job, diverging=diverging), slots)
        assert drive(sweep, opened, lambda: place, policy=policy, tell=tell)
    return record.read(folder).trials


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), text=PAUSING)


def test_trials_go_from_rung_to_rung_and_the_rest_are_stopped_when_the_budget_is_spent(
    sweep: Sweep, tmp_path: Path
) -> None:
    events: list[Event] = []
    trials = searched(sweep, tmp_path, Oldest(), tell=events.append)
    assert {trial.outcome for trial in trials} == {"complete", "stopped"}
    assert len(trials) > sweep.trials
    paid = sum(Fraction(trial.paid, EPOCHS) for trial in trials)
    assert sweep.trials <= paid < sweep.trials + Fraction(14, 27), "one job more than the budget at most"
    for trial in trials:
        whole = trial.outcome == "complete"
        assert [(rung.index, rung.epoch) for rung in trial.rungs] == [(0, 6), (1, 13), (2, 27)][: len(trial.rungs)]
        assert (len(trial.rungs) == 3) is whole
        assert trial.epoch == trial.rungs[-1].epoch
        assert trial.metrics == trial.rungs[-1].metrics
        assert (trial.cause or "").startswith("" if whole else f"{SPENT} while it waited: ")
    orders = [rung.order for trial in trials for rung in trial.rungs]
    assert len(set(orders)) == len(orders)
    told = [(event.trial.number, event.rung.epoch, event.epochs) for event in events if isinstance(event, TrialPaused)]
    assert sorted(told) == [(t.number, r.epoch, 27) for t in trials for r in t.rungs if r.epoch < 27]
    spent = [event.spent for event in events if isinstance(event, TrialEnded)]
    assert spent == sorted(spent, key=lambda each: each or 0.0)


def test_a_policy_that_finishes_what_it_begins_spends_the_budget_on_as_many_whole_trials(
    sweep: Sweep, tmp_path: Path
) -> None:
    trials = searched(sweep, tmp_path, ToTheEnd())
    assert [trial.outcome for trial in trials] == ["complete"] * sweep.trials
    assert sum(trial.paid for trial in trials) == sweep.trials * EPOCHS, "exactly, whatever floats would add up to"


@pytest.mark.parametrize(
    ("name", "every"), [("oldest", 1), ("oldest, two kept", 3), ("race", 5), ("pareto_halving", 5)]
)
def test_a_kill_at_any_write_changes_no_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, every: int
) -> None:
    trials = 4 if name == "race" else 2
    sweep = small_sweep(tmp_path, f"search.trials={trials}", text=PAUSING)

    def policy() -> Policy:
        """A new one, as every life of the driver has it."""
        if name == "race":
            return Race(sweep.space, sweep.ask)
        return ParetoHalving() if name == "pareto_halving" else Oldest(2, 2 if "kept" in name else None)

    undisturbed = untimed(searched(sweep, tmp_path / "undisturbed", policy()))
    writes = len((tmp_path / "undisturbed" / record.JOURNAL).read_text().splitlines())
    for number in range(3, writes + 1, every):
        folder, after = tmp_path / f"{number}", bool(number % 2)
        with monkeypatch.context() as patch:
            Kills(patch, number, after=after)
            with contextlib.suppress(Killed):
                searched(sweep, folder, policy())
        assert untimed(searched(sweep, folder, policy())) == undisturbed, (number, after)


def test_those_at_work_when_the_driver_died_go_on_first_and_to_where_they_were_sent(
    sweep: Sweep, tmp_path: Path
) -> None:
    with Record(tmp_path, sweep.objectives) as opened:
        controller = Controller(sweep, opened, Oldest(), lambda event: None, session="one")
        jobs = [controller.next() for _ in range(4)]
        assert all(isinstance(job, Job) for job in jobs)
        waiting, *at_work = [job for job in jobs if isinstance(job, Job)]
        controller.finish(waiting, End.of(next(answers(waiting))[1]))
        assert opened.trial(waiting.number).state == "paused"
        sent = [opened.trial(job.number).sent for job in at_work]
    with Record(tmp_path, sweep.objectives) as opened:
        policy = Oldest()
        controller = Controller(sweep, opened, policy, lambda event: None, session="two")
        again = [controller.next() for _ in at_work]
        assert [job.number for job in again if isinstance(job, Job)] == [job.number for job in at_work]
        assert [job.work["until"] for job in again if isinstance(job, Job)] == [6, 6, 6]
        assert [opened.trial(job.number).sent for job in at_work] == sent, "nothing is decided anew"
        assert not policy.asked
    table = collect.table(record.read(tmp_path))
    assert list(table["status"]) == ["paused", *["running"] * 3]
    assert table["clean_accuracy"].notna().tolist() == [True, False, False, False]
    assert standing.frontier(record.read(tmp_path)) == {}
    assert "of which 1 is paused" in " ".join(summary._unfinished(table, record.read(tmp_path)))


@settings(max_examples=8, deadline=None)
@given(
    slots=st.integers(1, 5),
    waiting=st.integers(1, 6),
    keep=st.none() | st.integers(1, 4),
    diverging=st.sampled_from([0.0, 0.4]),
)
def test_the_field_that_is_kept_is_the_one_that_the_record_says(
    sweep: Sweep, slots: int, waiting: int, keep: int | None, diverging: float
) -> None:
    seen: list[Field] = []

    class Watched(Oldest):
        def choose(self, field: Field) -> Choice:
            anew = Progress(sweep, controller[0].record)
            assert anew.field() == field
            kept = controller[0].pausing
            assert kept is not None
            assert (anew.spent, anew.dry, anew.complete) == (
                kept.progress.spent,
                kept.progress.dry,
                kept.progress.complete,
            )
            assert (anew.paused, anew.running) == (kept.progress.paused, kept.progress.running)
            seen.append(replace(field, curves=list(field.curves)))
            studies = [_told(controller[0].study), _told(Study(sweep, controller[0].record))]
            assert studies[0] == studies[1], "what samplers learn from is a function of the record, too"
            return super().choose(field)

    controller: list[Controller] = []
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder), sweep.objectives) as opened:
        controller.append(Controller(sweep, opened, Watched(waiting, keep), lambda event: None, session="one"))
        place = Simulated(lambda job: answers(job, diverging=diverging), slots)
        assert not place.run(controller[0])
        assert {trial.outcome for trial in opened.trials()} <= {"complete", "stopped", "diverged"}
        assert any(trial.outcome == "complete" for trial in opened.trials())
    for before, now in itertools.pairwise(seen):
        same = sum(a is b for a, b in zip(before.curves, now.curves, strict=False))
        assert same >= len(before.curves) - 2 * slots - waiting, "those of which nothing is new are the same objects"


def _told(study: Study) -> list[Any]:
    """What a sampler sees: a paused trial is at work to it, one that was stopped is worth what it measured last."""
    seen = [(each.state.name, each.values, each.params) for each in study._study.get_trials(deepcopy=False)]
    for number, place in study._places.items():
        trial = study.record.trial(number)
        expected = {"paused": "RUNNING", "running": "RUNNING"}.get(trial.state, "COMPLETE")
        assert seen[place][0] == expected
        if trial.outcome == "stopped":
            assert seen[place][1] == [trial.rungs[-1].metrics[name] for name in study.sweep.objectives]
    return seen


class NeverFinishes(ToTheEnd):
    """Always finds something better to do."""

    def choose(self, field: Field) -> Choice:
        return Start()


class Idle(ToTheEnd):
    """Never finds anything worth doing."""

    def choose(self, field: Field) -> Choice:
        return Nothing()


@pytest.mark.parametrize(("slots", "trials"), [(1, 15), (2, 25), (3, 36), (3, 12), (4, 16)])
def test_something_finishes_in_every_quarter_whatever_the_policy_thinks(
    tmp_path: Path, slots: int, trials: int
) -> None:
    """However slow trials are beside each other. Of small budgets an end may come late, by no more than is said."""
    sweep = small_sweep(tmp_path, f"search.trials={trials}", text=PAUSING)
    found = searched(sweep, tmp_path / "small", NeverFinishes(), slots=slots)
    ends = {trial.rungs[-1].order for trial in found if trial.outcome == "complete"}
    events = sorted((rung.order, trial.number, rung.epoch) for trial in found for rung in trial.rungs)
    come, ended = dict[int, int](), list[Fraction]()
    for order, number, epoch in events:
        come[number] = epoch
        if order in ends:
            ended.append(Fraction(sum(come.values()), EPOCHS))
    quarter, most = Fraction(trials, 4), through([6 / EPOCHS, 13 / EPOCHS, 1.0], slots)
    for number in range(4):
        begin = number * quarter
        last = begin + max(quarter, quarter / 2 + most)
        assert any(begin < end <= last for end in ended) or last > trials
    if most <= quarter / 2:
        assert {math.ceil(end / quarter) for end in ended} >= {1, 2, 3, 4}
    assert len(ends) <= 4 * slots + 4, "and else it has its way"


def test_a_policy_that_wants_nothing_is_not_waited_for(sweep: Sweep, tmp_path: Path) -> None:
    assert [trial.outcome for trial in searched(sweep, tmp_path, Idle())] == ["complete"] * sweep.trials


def test_only_the_states_of_those_that_were_given_up_are_deleted(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, "stopping.keep_paused=2", text=PAUSING)
    folder = tmp_path / "small"
    kept = ("last.pt", "metrics.csv", "log.txt")

    class Files(Oldest):
        def choose(self, field: Field) -> Choice:
            for curve in field.curves:
                there = folder / "trials" / f"{curve.number:04d}"
                if there.exists() and curve.state == "paused":
                    for name in kept:
                        (there / name).touch()
            return super().choose(field)

    trials = searched(sweep, folder, Files(4, keep=2))
    causes = {trial.number: trial.cause for trial in trials}
    assert {cause and cause.partition(",")[0].partition(" while")[0] for cause in causes.values()} == {
        None,
        GIVEN_UP,
        SPENT,
    }
    for number, cause in causes.items():
        there = {path.name for path in (folder / "trials" / f"{number:04d}").iterdir()}
        if str(cause).startswith(GIVEN_UP):
            assert "last.pt" not in there
        elif "log.txt" in there:
            assert there >= set(kept)
