"""How far cheap numbers agree with the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sweeps.agreement import Pair, audit, error_without_order, pairs, tau
from sweeps.record import Judged, Rung, Snapshot, TrialRecord

FEW = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12)


def test_ties_count_as_in_the_definition() -> None:
    """5 pairs agree and none disagrees; one of 6 is tied in the first column alone: 5 / sqrt(5 * 6)."""
    found = tau([1, 1, 2, 3], [1, 2, 3, 4])
    assert found.value == pytest.approx(5 / np.sqrt(30))
    assert found.n == 4


@settings(max_examples=40, deadline=None)
@given(FEW)
def test_the_value_is_scipys_and_the_interval_lies_in_range(rows: list[tuple[int, int]]) -> None:
    x, y = np.array(rows).T
    found, expected = tau(x, y), stats.kendalltau(x, y).statistic
    if np.isnan(expected):
        assert np.isnan([found.value, found.low, found.high]).all()
    else:
        assert found.value == pytest.approx(expected)
        assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9


@pytest.mark.parametrize("n", [3, 9, 100])
def test_a_perfect_order_is_as_sure_as_its_trials_are_many(n: int) -> None:
    """Every resample of it is perfect too; of 9 trials s = sqrt(2 * 23 / (9 * 9 * 8)) = 0.266, and it ends at 0.478."""
    x = np.arange(float(n))
    half = 1.959964 * np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    kept, turned = tau(x, 2 * x), tau(x, -x)
    assert [kept.value, kept.low, kept.high] == pytest.approx([1, max(1 - half, -1), 1])
    assert [turned.value, turned.low, turned.high] == pytest.approx([-1, -1, min(half - 1, 1)])
    if n == 9:
        assert kept.low == pytest.approx(0.478, abs=5e-4)


def test_an_interval_holds_both_that_of_resamples_and_that_of_no_order() -> None:
    rng = np.random.default_rng(2)
    for n in (4, 12, 60):
        x = rng.normal(size=n)
        y = x + rng.normal(size=n)
        found = tau(x, y)
        drawn = [stats.kendalltau(x[at], y[at]).statistic for at in rng.integers(n, size=(200, n))]
        half = 1.959964 * error_without_order(n)
        assert found.low <= max(-1, found.value - half) + 1e-12
        assert found.high >= min(1, found.value + half) - 1e-12
        assert np.nanmean((np.array(drawn) >= found.low) & (np.array(drawn) <= found.high)) > 0.9


def test_the_interval_narrows_with_trials_and_holds_the_truth() -> None:
    """Of a bivariate normal with correlation r, tau is 2 / pi asin r (Greiner)."""
    rng = np.random.default_rng(0)
    truth, widths = 2 / np.pi * np.arcsin(0.8), []
    for n in (30, 300):
        x = rng.normal(size=n)
        found = tau(x, 0.8 * x + 0.6 * rng.normal(size=n))
        assert found.low < truth < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_rungs_are_held_against_the_judge_and_flagged_trials_are_left_out() -> None:
    def trial(number: int, robust: float, early: float) -> TrialRecord:
        """A look, a rung, and a last rung that is the end of its training. The look finds what the end does."""
        places = enumerate((robust, early, robust))
        rungs = tuple(
            Rung(index, (3, 5, 9)[index] + number, 0, {"robust_accuracy": place}, 1.0, None if index else 0.1)
            for index, place in places
        )
        metrics = {"robust_accuracy": robust}
        return TrialRecord(number, {}, "complete", metrics=metrics, epoch=9 + number, rungs=rungs)

    def judged(robust: int, *flags: str) -> Judged:
        return Judged(100, 80, robust, "standard", True, "", 0.0, flags)

    trials = [trial(0, 0.5, 0.2), trial(1, 0.6, 0.3), trial(2, 0.7, 0.1), trial(3, 0.9, 0.9), trial(4, 0.4, 0.4)]
    verdicts = {(0, "validation"): judged(45), (1, "validation"): judged(50), (2, "validation"): judged(55)}
    verdicts |= {(3, "validation"): judged(90, "masked"), (4, "test"): judged(30)}
    found = pairs(Snapshot({}, trials, verdicts, {}, {}, [], {}))
    assert {pair.trial for pair in found} == {0, 1, 2}
    end, rung, look = audit(found)
    assert (end.rung, end.tau.value, end.trial) == (None, 1.0, 2)
    assert (end.largest, end.drop) == pytest.approx((0.15, 0.1))
    assert (rung.rung, rung.epochs, rung.look) == (1, (5, 7), False)
    assert rung.tau.value == pytest.approx(-1 / 3)
    assert (look.rung, look.epochs, look.look, look.tau.value) == (0, (3, 5), True, 1.0)
    only = replace(trials[0], rungs=trials[0].rungs[:1])
    assert [pair.look for pair in pairs(Snapshot({}, [only], verdicts, {}, {}, [], {}))] == [False, True], (
        "a look is no end"
    )
    assert audit([]) == []


def test_two_trials_have_no_order_to_speak_of() -> None:
    only = audit([Pair("robust_accuracy", None, n, 0.5 + n / 10, 0.4) for n in range(2)])
    assert [each.tau.n for each in only] == [2]
    assert np.isnan(only[0].tau.value)
