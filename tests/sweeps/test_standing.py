"""Who stands where, as the record says: best known numbers, means that rounding does not move, settings that take part."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps import standing
from sweeps.frontier import mean, undominated
from sweeps.record import Judged, Skipped, Snapshot, TrialRecord

OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
CHEAP = {"clean_accuracy": 0.9, "robust_accuracy": 0.8, "cost_passes": 5.0}
TRIAL = TrialRecord(number=0, params={}, outcome="complete", metrics=CHEAP)
SKIPPED = Skipped(dominator=1, after="apgd-ce", bound=30, clean_correct=85, images=100)


def _judged(clean: int, robust: int, *flags: str) -> Judged:
    return Judged(100, clean, robust, "standard", True, "judgements/0000/x", 1.0, flags)


def _snapshot(trials: list[TrialRecord], judged: dict[int, Judged], **more: object) -> Snapshot:
    empty = Snapshot(OBJECTIVES, trials, {(n, "validation"): j for n, j in judged.items()}, {}, {}, (), {})
    return replace(empty, **more)  # type: ignore[arg-type]


def _trial(number: int, replicate_of: int | None = None) -> TrialRecord:
    return replace(TRIAL, number=number, replicate_of=replicate_of)


def test_the_best_known_number_is_the_judged_one_else_the_bound_else_the_cheap_one() -> None:
    judged = standing.known(TRIAL, _judged(80, 40), SKIPPED, so_far=0.1)
    assert judged.source == "judged"
    assert judged.values == {**CHEAP, "clean_accuracy": 0.8, "robust_accuracy": 0.4}
    bound = standing.known(TRIAL, None, SKIPPED, so_far=0.1)
    assert bound.source == "bound"
    assert bound.values == {**CHEAP, "clean_accuracy": 0.85, "robust_accuracy": 0.3}
    unattacked = standing.known(TRIAL, None, replace(SKIPPED, after=""))
    assert (unattacked.source, unattacked.values) == ("cheap", CHEAP)
    assert standing.known(TRIAL, None).values == CHEAP


@given(so_far=st.floats(0, 1))
def test_a_judgement_under_way_only_lowers_the_cheap_number(so_far: float) -> None:
    found = standing.known(TRIAL, None, so_far=so_far)
    assert found.source == "bound"
    assert found.values == {**CHEAP, "robust_accuracy": min(0.8, so_far)}


@given(
    counts=st.lists(st.integers(0, 10_000), min_size=1, max_size=7),
    images=st.integers(10_000, 50_000),
    data=st.data(),
)
def test_equal_means_of_counts_are_equal_numbers(counts: list[int], images: int, data: st.DataObject) -> None:
    """Rounding decides no tie: the mean is the float nearest to the fraction, in whatever order and from whatever seeds."""
    exact = Fraction(sum(counts), images * len(counts))
    shuffled = data.draw(st.permutations(counts))
    assert mean([{"a": count / images} for count in shuffled], {"a": "max"}) == {"a": float(exact)}


def test_a_mean_that_floats_would_miss() -> None:
    values = [{"a": 0.7}, {"a": 0.8}, {"a": 0.9}]
    assert np.mean([point["a"] for point in values]) != 0.8
    assert mean(values, {"a": "max"}) == {"a": 0.8}


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=5))
def test_a_mean_of_any_numbers_is_rounded_once(values: list[float]) -> None:
    found = mean([{"a": value} for value in values], {"a": "min"})["a"]
    assert found == pytest.approx(float(sum(map(Fraction, values)) / len(values)), rel=1e-15, abs=1e-300)
    assert min(values) <= found <= max(values)


def test_a_mean_over_what_is_not_finite_is_not_finite() -> None:
    assert mean([{"a": 1.0}, {"a": float("inf")}], {"a": "min"}) == {"a": float("inf")}


def test_a_row_with_something_missing_neither_dominates_nor_is_undominated() -> None:
    values = np.array([[1.0, np.nan], [1.0, 1.0], [1.0, 1.0], [0.0, np.nan], [1.0, 2.0]])
    assert undominated(values).tolist() == [False, True, True, False, False]
    assert undominated(np.empty((0, 2))).tolist() == []


FULL = {0: _judged(90, 60), 1: _judged(70, 60)}  # the first dominates the second


@pytest.mark.parametrize(
    ("other", "judged", "more", "members"),
    [
        (None, None, {}, [0]),
        (_trial(2, 0), _judged(80, 60), {}, [0, 2]),  # the mean still dominates
        (_trial(2, 0), _judged(40, 60), {}, [1]),  # the mean is dominated
        (_trial(2, 0), _judged(50, 60), {}, [0, 1, 2]),  # a tie of means
        (_trial(2, 0), _judged(80, 60, "dynamic"), {}, [1]),  # flagged
        (replace(_trial(2, 0), feasible=False), None, {}, [1]),
        (replace(_trial(2, 0), outcome=None), None, {}, [1]),  # its mean may yet move
        (replace(_trial(2, 0), outcome="diverged"), None, {}, [0]),
        (_trial(2, 0), None, {}, [1]),  # not judged yet
        (_trial(2, 0), None, {"unjudged": {(2, "validation"): "lost"}}, [0]),  # could not be
        (_trial(2, 0), None, {"unjudged": {(2, "validation"): "lost"}, "skipped": {2: SKIPPED}}, [1]),
    ],
)
def test_which_settings_are_on_the_frontier(
    other: TrialRecord | None, judged: Judged | None, more: dict[str, object], members: list[int]
) -> None:
    trials = [_trial(0), _trial(1), *([other] if other else [])]
    snapshot = _snapshot(trials, FULL | ({2: judged} if judged else {}), **more)
    assert standing.members(snapshot) == members
    assert set(standing.frontier(snapshot)) == {trial.setting for trial in trials if trial.number in members}


def test_a_flag_on_test_takes_a_trial_off_the_frontier() -> None:
    snapshot = _snapshot([_trial(0), _trial(1)], FULL)
    found_out = replace(snapshot, judged={**snapshot.judged, (0, "test"): _judged(90, 60, "dynamic")})
    assert standing.flagged(found_out) == {0}
    assert standing.members(found_out) == [1]


def test_eligible_are_the_complete_trials_and_the_infeasible_ones_where_wanted() -> None:
    trials = [_trial(0), replace(_trial(1), feasible=False), replace(_trial(2), outcome="failed")]
    snapshot = _snapshot(trials, {})
    assert standing.eligible(snapshot) == trials[:1]
    assert standing.eligible(snapshot, infeasible=True) == trials[:2]
