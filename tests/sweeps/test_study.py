"""What samplers see: the best that is known of every setting, as a function of the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from sweeps.events import JudgingReached, JudgingResumed, JudgingSkipped, TrialJudged
from sweeps.record import Issued, Judged, Reached, Record, Skipped
from sweeps.running.queues import End, Job
from sweeps.search.controller import Controller
from sweeps.search.sampling import sampler
from sweeps.search.stopping import first_in_first_out
from sweeps.search.study import Study
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, small_sweep

COSTS = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}


def seen(study: Study) -> list[tuple[Any, ...]]:
    """Everything a sampler can tell two studies apart by."""
    there = study._study.get_trials(deepcopy=False)
    assert study.learnt == sum(trial.state is TrialState.COMPLETE for trial in there)
    return [
        (trial.number, trial.state, trial.values, trial.params, trial.constraints, trial.system_attrs)
        for trial in there
    ]


def opened(folder: Path, sweep: Sweep) -> Record:
    return Record(folder, sweep.objectives, constraints=sweep.constraints)


def issue(record: Record, study: Study, issued: Issued) -> int:
    distributions = {"defense.trades.beta": FloatDistribution(0.1, 20, log=True)} if issued.params else {}
    number = record.issue(issued, distributions)
    study.issued(record.trial(number), distributions, {})
    return number


def done(record: Record, study: Study, number: int, clean: float, robust: float, **more: Any) -> None:
    metrics = {"clean_accuracy": clean, "robust_accuracy": robust, **COSTS}
    record.finish(number, "complete", metrics=metrics, **more)
    study.learn(number)


BETA = {"defense": "trades", "defense.trades.beta": 1.0}


def test_a_judged_number_takes_the_place_of_the_cheap_one_and_a_bound_where_judging_ended(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    with opened(tmp_path / "record", sweep) as record:
        study = Study(sweep, record)
        for _ in range(2):
            done(record, study, issue(record, study, Issued(BETA)), 0.9, 0.5)
        record.judge(0, "validation", Judged(10, 8, 4, "standard", True, "x", 1.0))
        record.skip(1, Skipped(0, "apgd-ce", bound=3, images=10, clean_correct=7))
        for number in (0, 1):
            study.learn(number)
        assert [values for _, _, values, *_ in seen(study)] == [[0.8, 0.4], [0.7, 0.3]]
        record.skip(1, None)
        study.learn(1)
        assert seen(study)[1][2] == [0.9, 0.5], "withdrawn, it is what the cheap attack said"


def test_violations_are_judged_ones_and_shares_that_can_be_added_up(tmp_path: Path) -> None:
    """A trial that is a tenth short of the floor and one that takes a tenth more than is allowed are as far outside."""
    space = SPACE + "constraints: {robust_accuracy: {min: 0.5}, cost_passes: {max: 1.0e+6}}\n"
    sweep = small_sweep(tmp_path / "space", text=space)
    with opened(tmp_path / "record", sweep) as record:
        study = Study(sweep, record)
        for _ in range(4):
            done(record, study, issue(record, study, Issued(BETA)), 0.9, 0.8)
        dear = issue(record, study, Issued(BETA))
        dearer = {"clean_accuracy": 0.9, "robust_accuracy": 0.8, "cost_passes": 1e6 / 0.9}
        record.finish(dear, "complete", metrics=dearer)
        study.learn(dear)
        record.judge(0, "validation", Judged(100, 90, 45, "standard", True, "x", 1.0))
        record.skip(
            1, Skipped(None, "apgd-ce", bound=40, images=100, clean_correct=90, missed={"robust_accuracy": 0.1})
        )
        record.reach(2, Reached("apgd-t", bound=30, clean_correct=90, images=100))
        for number in range(3):
            study.learn(number)
        found = [constraints["robust_accuracy"] for _, _, _, _, constraints, _ in seen(study)]
        assert found == pytest.approx([0.1, 0.2, 0.4, -0.375, -0.375])
        assert seen(study)[dear][4]["cost_passes"] == pytest.approx(0.1)
        assert [trial.feasible for trial in record.trials()] == [False, False, False, True, True]


def test_what_failed_is_the_worst_there_is(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space", "objectives={robust_accuracy: max, cost_passes: min}")
    with opened(tmp_path / "record", sweep) as record:
        study = Study(sweep, record)
        first = issue(record, study, Issued(BETA))
        record.finish(first, "diverged", metrics={}, cause="loss is nan")
        study.learn(first)
        for passes in (3.0, 7.0, 5.0):
            number = issue(record, study, Issued(BETA))
            record.finish(number, "complete", metrics={"robust_accuracy": 0.2, "cost_passes": passes})
            study.learn(number)
        rows = seen(study)
        assert [state for _, state, *_ in rows] == [TrialState.COMPLETE] * 4, "else a sampler would pass it over"
        assert rows[0][2] == [0.0, 7.0], "no accuracy, and the highest cost of any"


def test_replicates_and_retries_stand_for_their_setting_and_derived_points_for_nothing(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    with opened(tmp_path / "record", sweep) as record:
        study = Study(sweep, record)
        first = issue(record, study, Issued(BETA))
        done(record, study, first, 0.9, 0.5)
        again = issue(record, study, Issued(BETA, seed=7, origin="replicate", parents=(first,)))
        assert seen(study)[0][2] == [0.9, 0.5], "a replicate in training says nothing yet"
        done(record, study, again, 0.7, 0.3)
        assert seen(study)[0][2] == pytest.approx([0.8, 0.4])
        lost = issue(record, study, Issued(BETA))
        record.finish(lost, "failed", metrics={}, cause="a node went")
        study.learn(lost)
        assert seen(study)[1][2] == [0.0, 0.0]
        done(record, study, issue(record, study, Issued(BETA, origin="retry", parents=(lost,))), 0.6, 0.2)
        assert seen(study)[1][2] == [0.6, 0.2]
        done(record, study, issue(record, study, Issued({}, origin="derived", parents=(first, lost))), 1.0, 1.0)
        assert len(seen(study)) == 2
        assert study.sampled == 2, "nobody sampled the other three: they cost no budget and move no seed"


def test_the_record_keeps_who_asked_for_a_trial(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space")
    told = [
        Issued(BETA),
        Issued(BETA, seed=7, origin="replicate", parents=(0,)),
        Issued({}, origin="derived", parents=(0, 1)),
        Issued(BETA, fidelity={"epochs": 2}, origin="imported"),
    ]
    with opened(tmp_path / "record", sweep) as record:
        assert [record.issue(each) for each in told] == [0, 1, 2, 3]
        before = list(record.trials())
    with opened(tmp_path / "record", sweep) as record:
        for now, then, issued in zip(record.trials(), before, told, strict=True):
            assert (now.params, now.origin, now.parents, now.seed) == (
                issued.params,
                issued.origin,
                issued.parents,
                issued.seed,
            )
            assert (now.setting, now.replicate_of) == (then.setting, then.replicate_of)
        assert record.trial(1).setting == 0


def test_a_branch_that_always_fails_is_left_alone_by_tpe(tmp_path: Path) -> None:
    """A sampler that never hears of failures goes back to where it knows least, for ever."""
    sweep = small_sweep(tmp_path / "space", "search.sampler=tpe", "search.trials=36")
    with opened(tmp_path / "record", sweep) as record:
        controller = Controller(sweep, record, first_in_first_out, lambda event: None, session="one")
        failed = []
        for _ in range(36):
            job = controller.next()
            assert isinstance(job, Job)
            number = record.trials()[-1].number
            params = record.trial(number).params
            bad = params["defense"] == "adversarial"
            failed.append(bad)
            beta = float(params.get("defense.trades.beta", 0.05))
            metrics = {"clean_accuracy": 1 / (1 + beta / 20), "robust_accuracy": beta / (beta + 5), **COSTS}
            end = End("failed", "KeyError: 'x'") if bad else End("complete", None, metrics)
            controller.finish(job, end)
        assert any(failed[:12]), "else this tells nothing"
        assert sum(failed[12:]) <= 4, f"{sum(failed[12:])} of 24 went where every trial fails"


LEARNING = ("tpe", "nsga2", "nsga3")
"""Samplers that learn, but for the one that takes a second."""
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.sampled_from(["end", "fail", "judge", "reach", "skip", "cut", "resume"]),
        st.integers(0, 10),
    ),
    max_size=30,
)


@settings(max_examples=25)
@given(
    events=EVENTS,
    origins=st.lists(st.sampled_from(["sampled", "replicate", "retry", "derived"]), min_size=8, max_size=8),
)
def test_it_is_a_function_of_the_record(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, str, int]], origins: list[str]
) -> None:
    """Told event by event, or read from the record afterwards: the same study, and the same next question."""
    folder = tmp_path_factory.mktemp("study")
    sweep = small_sweep(folder / "space", text=SPACE + "constraints: {robust_accuracy: {min: 0.5}}\n")
    with opened(folder / "record", sweep) as record:
        controller = Controller(sweep, record, first_in_first_out, lambda event: None, session="one")
        study = controller.study
        for number, origin in enumerate(origins):
            parents = (0,) if number and origin != "sampled" else ()
            issue(record, study, Issued(BETA, origin=origin if parents else "sampled", parents=parents))  # type: ignore[arg-type]
        for number, kind, amount in events:
            open_ = record.trial(number).outcome is None
            if kind == "end" and open_:
                done(record, study, number, 0.9, amount / 10, violations={"robust_accuracy": 0.5 - amount / 10})
            elif kind == "fail" and open_:
                record.finish(number, "diverged", metrics={})
                study.learn(number)
            elif kind == "judge" and not open_:
                judged = Judged(10, 10, amount, "standard", True, "x", 1.0)
                record.judge(number, "validation", judged)
                controller.heard(TrialJudged(number, "validation", judged))
            elif kind == "reach" and not open_:
                reached = Reached("apgd-t", bound=amount, clean_correct=10, images=10)
                record.reach(number, reached)
                controller.heard(JudgingReached(number, reached))
            elif kind in ("skip", "cut") and not open_:
                skipped = Skipped(0 if kind == "skip" else None, "apgd-ce", bound=amount, images=10, clean_correct=10)
                record.skip(number, skipped)
                controller.heard(JudgingSkipped(number, skipped))
            elif kind == "resume" and record.skipped(number) is not None:
                record.skip(number, None)
                controller.heard(JudgingResumed(number))
        told, asked = seen(study), [study.ask(sampler(sweep, study.sampled, name=each)) for each in LEARNING]
        held = [(trial.feasible, trial.violations) for trial in record.trials()]
    with opened(folder / "record", sweep) as record:
        read = Study(sweep, record)
        assert [(trial.feasible, trial.violations) for trial in record.trials()] == held
        assert seen(read) == told
        assert read.sampled == study.sampled
        assert [read.ask(sampler(sweep, read.sampled, name=each)) for each in LEARNING] == asked
