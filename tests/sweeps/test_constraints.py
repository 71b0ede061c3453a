"""Constraints: how far a number misses one, in its own unit and as a share that can be added up, and in words."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.measures.metrics import ACCURACIES, COSTS
from sweeps.record.constraints import Limit, at_best, by, measured, missed, said, shares, violations

NUMBERS = st.floats(0, 1e12, allow_subnormal=False)
ENDS = st.one_of(
    st.builds(Limit, min=NUMBERS),
    st.builds(Limit, max=NUMBERS),
    st.tuples(NUMBERS, NUMBERS).map(lambda two: Limit(min(two), max(two))),
)


@given(value=NUMBERS, ends=ENDS)
def test_a_share_has_the_sign_of_the_violation_and_is_at_most_one(value: float, ends: Limit) -> None:
    (violation,), (share,) = (function({"a": value}, {"a": ends}).values() for function in (violations, shares))
    assert -1 <= share <= 1
    assert (share > 0) == (violation > 0)
    inside = (ends.min is None or value >= ends.min) and (ends.max is None or value <= ends.max)
    assert (violation <= 0) == inside, "ends are included"


@given(ends=ENDS, values=st.lists(NUMBERS, min_size=2, max_size=2, unique=True))
def test_the_further_outside_the_larger_the_share(ends: Limit, values: list[float]) -> None:
    amounts = [violations({"a": value}, {"a": ends})["a"] for value in values]
    (less, nearer), (more, further) = sorted(
        zip(amounts, [shares({"a": v}, {"a": ends})["a"] for v in values], strict=True)
    )
    same_side = ends.min is None or ends.max is None
    if same_side and 0 < less < more:
        assert nearer <= further


@given(unit=st.sampled_from([2.0**-20, 0.5, 2.0, 2.0**30]), value=st.floats(1, 100), end=st.floats(1, 100))
def test_a_share_does_not_depend_on_the_unit(unit: float, value: float, end: float) -> None:
    for in_own, in_other in ((Limit(min=end), Limit(min=unit * end)), (Limit(max=end), Limit(max=unit * end))):
        assert shares({"a": value}, {"a": in_own}) == shares({"a": unit * value}, {"a": in_other})


def test_half_of_what_is_asked_for_misses_like_twice_what_is_allowed() -> None:
    limits = {"robust_accuracy": Limit(min=0.6), "cost_passes": Limit(max=1e6)}
    assert shares({"robust_accuracy": 0.3, "cost_passes": 2e6}, limits) == {"robust_accuracy": 0.5, "cost_passes": 0.5}


def test_what_was_not_measured_misses_as_far_as_anything_can() -> None:
    limits = {"a": Limit(min=0.6), "b": Limit(max=1.0)}
    assert violations({}, limits) == {"a": math.inf, "b": math.inf}
    assert shares({}, limits) == {"a": 1.0, "b": 1.0}


@given(low=st.floats(0, 1), more=st.floats(0, 1), at=st.floats(0, 1), ends=ENDS)
def test_a_range_misses_where_every_number_in_it_does(low: float, more: float, at: float, ends: Limit) -> None:
    high = low + more
    inside = min(max(low + at * more, low), high)
    found = at_best({"a": (low, high)}, {"a": ends, "b": Limit(min=2.0)})
    if found:
        assert 0 < found["a"] <= violations({"a": inside}, {"a": ends})["a"]
    else:
        allowed = max(low, -math.inf if ends.min is None else ends.min)
        assert allowed <= high
        assert not missed(violations({"a": allowed}, {"a": ends}))


def test_only_what_training_alone_measures_is_settled_before_judging() -> None:
    violated = dict.fromkeys((*ACCURACIES, *COSTS), 1.0)
    assert set(measured(violated)) == set(COSTS)
    assert measured(dict.fromkeys(COSTS, 0.0)) == {}


@pytest.mark.parametrize(
    ("values", "limit", "line"),
    [
        ({"robust_accuracy": 0.52}, Limit(min=0.6), "robust_accuracy at most 52.0 % is 8.0 points below 60.0 %"),
        ({"clean_accuracy": 0.95}, Limit(max=0.9), "clean_accuracy 95.0 % is 5.0 points above 90.0 %"),
        ({"cost_passes": 1200.0}, Limit(1.0, 1000.0), "cost_passes 1,200 is 200 above 1,000"),
        ({}, Limit(min=1.0), "cost_seconds is not known"),
    ],
)
def test_a_miss_in_words(values: dict[str, float], limit: Limit, line: str) -> None:
    name = next(iter(values), "cost_seconds")
    assert said(values, {name: limit}, at_most=("robust_accuracy",)) == [line]


def test_what_holds_is_not_said() -> None:
    assert said({"a": 0.6}, {"a": Limit(min=0.6, max=0.6)}) == []
    assert by({"robust_accuracy": 0.08, "cost_passes": 200.0}) == "robust_accuracy by 8.0 points and cost_passes by 200"
