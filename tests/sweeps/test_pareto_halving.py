"""Successive halving by non-dominated rank, against the definition."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.record.constraints import Limit
from sweeps.search.field import Curve, Resume, Start
from sweeps.search.halving import ParetoHalving, crowding
from tests.sweeps.raced import curve, field, rung, search

ACCURACY = st.integers(2, 20).map(lambda twentieths: twentieths / 20)  # coarse: equals are common
POINT = st.tuples(ACCURACY, ACCURACY)


def at_first(points: list[tuple[float, float]], state: str = "paused", first: int = 0) -> list[Curve]:
    return [curve(first + n, [rung(0, first + n, *point)], state) for n, point in enumerate(points)]


def fronts(points: list[tuple[float, float]]) -> list[int]:
    """By the definition: whom nobody dominates, then among the rest."""
    left, found, number = set(range(len(points))), [0] * len(points), 0
    while left:
        first = {
            i
            for i in left
            if not any(
                points[j] != points[i] and all(a >= b for a, b in zip(points[j], points[i], strict=True)) for j in left
            )
        }
        for i in first:
            found[i] = number
        left -= first
        number += 1
    return found


@given(st.lists(POINT, min_size=1, max_size=14), st.sampled_from([2.0, 3.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_who_goes_on_is_of_the_first_fronts(points: list[tuple[float, float]], eta: float) -> None:
    """Whoever goes on is among n/eta by front; whoever is among them by front alone does, until none is left."""
    curves, gone = at_first(points), []
    policy = ParetoHalving(eta)
    while isinstance(choice := policy.choose(field(curves)), Resume):
        gone.append(choice.number)
        old = curves[choice.number]
        curves[choice.number] = Curve(old.number, old.params, "running", old.epochs, old.rungs, 1)
    assert policy.choose(field(curves)) == Start()
    assert len(gone) == int(len(points) / eta)
    by_front = fronts(points)
    assert sorted(by_front[number] for number in gone) == sorted(by_front)[: len(gone)]
    assert [by_front[number] for number in gone] == sorted(by_front[number] for number in gone)


@given(
    st.lists(POINT, min_size=2, max_size=10), st.lists(st.sampled_from(["paused", "complete", "stopped"]), min_size=10)
)
@settings(max_examples=60, deadline=None)
def test_a_newcomer_that_dominates_all_goes_on(points: list[tuple[float, float]], states: list[str]) -> None:
    """Whatever became of the others: they are ranked at this rung alike. Syne Tune stops such a newcomer every other time."""
    curves = [
        curve(n, [rung(0, n, *point)], state) for n, (point, state) in enumerate(zip(points, states, strict=False))
    ]
    newcomer = curve(len(points), [rung(0, 99, 1.05, 1.05)])
    assert ParetoHalving().choose(field([*curves, newcomer])) == Resume(len(points))


def test_running_trials_count_at_rungs_that_they_came_to_only() -> None:
    pending = [Curve(number, {}, "running", 27) for number in range(10, 20)]
    assert ParetoHalving().choose(field([*at_first([(0.5, 0.5), (0.4, 0.4)]), *pending])) == Start()
    on_its_way = Curve(9, {}, "running", 27, (rung(0, 9, 0.9, 0.9),), 1)
    assert ParetoHalving().choose(field([*at_first([(0.5, 0.5), (0.4, 0.4)]), on_its_way])) == Start()
    worse = Curve(9, {}, "running", 27, (rung(0, 9, 0.3, 0.3),), 1)
    assert ParetoHalving().choose(field([*at_first([(0.5, 0.5), (0.4, 0.4)]), worse])) == Resume(0)


def test_a_trial_that_failed_on_the_way_is_worse_than_all_that_came() -> None:
    failed = [Curve(number, {}, "failed", 27) for number in (2, 3)]
    curves = at_first([(0.5, 0.2), (0.4, 0.1)])
    assert ParetoHalving().choose(field(curves)) == Start()
    assert ParetoHalving().choose(field([*curves, *failed])) == Resume(0)


def test_the_highest_rung_first() -> None:
    low = at_first([(0.9, 0.9), (0.5, 0.5), (0.4, 0.4)])
    high = [curve(3 + n, [rung(0, 3 + n, 0.1, 0.1), rung(1, 9 + n, 0.6 - n / 10, 0.3)]) for n in range(3)]
    assert ParetoHalving().choose(field([*low, *high])) == Resume(3)


def test_no_robustness_is_not_protected() -> None:
    """The cleanest network of all is on every frontier, and of no use."""
    bare, useful = (0.99, 0.01), [(0.8, 0.4), (0.7, 0.3)]
    assert ParetoHalving().choose(field(at_first([bare, *useful]))) == Resume(1)
    assert ParetoHalving(not_robust=0.0).choose(field(at_first([bare, (0.6, 0.02), (0.5, 0.01)]))) == Resume(0)


@given(st.permutations([(0.9, 0.30), (0.8, 0.45), (0.9, 0.20)]))
@settings(deadline=None)
def test_what_misses_limits_comes_last_by_how_much(points: list[tuple[float, float]]) -> None:
    limits = {"robust_accuracy": Limit(min=0.4)}
    chosen = ParetoHalving().choose(field(at_first(points), limits=limits))
    assert chosen == Resume(points.index((0.8, 0.45)))
    outside = [point for point in points if point[1] < 0.4]
    chosen = ParetoHalving(2.0).choose(field(at_first(outside), limits=limits))
    assert chosen == Resume(outside.index((0.9, 0.30)))


def test_limits_of_what_was_not_measured_there_say_nothing() -> None:
    limits = {"cost_seconds": Limit(max=1.0)}
    assert ParetoHalving().choose(field(at_first([(0.9, 0.9), (0.5, 0.5), (0.4, 0.4)]), limits=limits)) == Resume(0)


def test_crowding_of_a_front() -> None:
    """By hand: neighbours' distances as shares of the range, in both objectives; one of two equals is not spread."""
    front = np.array([[0.0, 1.0], [0.2, 0.5], [0.5, 0.4], [1.0, 0.0]])
    assert crowding(front, np.zeros(4, int)).tolist() == pytest.approx([np.inf, 0.5 + 0.6, 0.8 + 0.5, np.inf])
    both = np.concatenate([front, front[1:2], front + 3])
    found = crowding(both, np.array([0] * 5 + [1] * 4))
    assert found.tolist() == pytest.approx([np.inf, 1.1, 1.3, np.inf, 0.0, np.inf, 1.1, 1.3, np.inf])
    assert not len(crowding(front[:0], np.zeros(0, int)))


def test_ties_go_to_the_widest() -> None:
    """One front of nine: three go on, both ends and the one that is farthest from its neighbours."""
    clean = [0.1, 0.12, 0.14, 0.16, 0.5, 0.84, 0.86, 0.88, 0.9]
    curves = at_first([(c, 1 - c) for c in clean])
    policy, gone = ParetoHalving(), set()
    while isinstance(choice := policy.choose(field(curves)), Resume):
        gone.add(choice.number)
        curves[choice.number] = curve(choice.number, curves[choice.number].rungs, "complete")
    assert gone == {0, 4, 8}


@given(st.lists(POINT, min_size=4, max_size=12), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_given_up_are_those_that_stand_last(points: list[tuple[float, float]], keep: int) -> None:
    given_up = ParetoHalving(keep_paused=keep).given_up(field(at_first(points)))
    assert len(given_up) == max(len(points) - keep, 0)
    by_front = fronts(points)
    kept = [by_front[number] for number in range(len(points)) if number not in given_up]
    assert max(kept) <= min((by_front[number] for number in given_up), default=len(points))
    assert not ParetoHalving().given_up(field(at_first(points)))


@st.composite
def at_rungs(draw: st.DrawFn) -> tuple[list[Curve], int]:
    """Trials that came to rungs, and one that came last to any of them before the end and is better there than all others."""
    curves, order = [], 0
    for number, points in enumerate(draw(st.lists(st.lists(POINT, min_size=1, max_size=3), min_size=1, max_size=9))):
        reports = [rung(index, order + index, *point) for index, point in enumerate(points)]
        order += len(points)
        waits = st.sampled_from(["paused", "paused", "stopped", "failed"])
        curves.append(curve(number, reports, "complete" if len(points) == 3 else draw(waits)))
    place = draw(st.integers(0, 1))
    before = [rung(index, order + index, *draw(POINT)) for index in range(place)]
    there = [each for each in curves if len(each.rungs) > place]
    newcomer = curve(len(curves), [*before, rung(place, order + place, 1.05, 1.05)])
    return [*curves, newcomer], len(there)


@given(at_rungs(), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_a_newcomer_that_dominates_is_never_given_up(made: tuple[list[Curve], int], keep: int) -> None:
    """However few may wait, and at whatever rung; and whoever goes on next is not given up before it does."""
    curves, others = made
    policy = ParetoHalving(keep_paused=keep)
    given_up, choice = policy.given_up(field(curves)), policy.choose(field(curves))
    if others:
        assert len(curves) - 1 not in given_up
    waiting = {each.number for each in curves if each.state == "paused"}
    assert set(given_up) <= waiting
    assert min(keep, len(waiting)) <= len(waiting) - len(given_up) <= keep + 3, "a rung each, and the next"
    left = [replace(each, state="stopped") if each.number in given_up else each for each in curves]
    assert policy.choose(field(left)) == ParetoHalving().choose(field(curves)) == choice


def test_one_waits_at_a_higher_rung_and_the_one_that_dominates_it_stays() -> None:
    waits = curve(0, [rung(0, 0, 0.6, 0.3), rung(1, 5, 0.62, 0.33)])
    others = [curve(n, [rung(0, n, 0.5, 0.2)]) for n in (1, 2)]
    every = field([waits, *others, curve(9, [rung(0, 99, 0.95, 0.8)])])
    policy = ParetoHalving(keep_paused=1)
    assert (policy.given_up(every), policy.choose(every)) == ([0, 1, 2], Resume(9))


def test_what_it_remembers_only_saves_time() -> None:
    """One that saw all decides as a new one does, in any order of asking."""
    seen, _ = search(ParetoHalving(), 12.0)
    fresh = [ParetoHalving().choose(now) for now, _ in seen]
    known: list[tuple[Any, Any]] = [choice for choice in seen if isinstance(choice[1], Resume)]
    assert fresh == [choice for _, choice in seen]
    assert known
    old = ParetoHalving()
    shuffled = random.Random(3).sample(seen, len(seen))
    assert [old.choose(now) for now, _ in shuffled] == [ParetoHalving().choose(now) for now, _ in shuffled]


def test_eta_is_above_one() -> None:
    with pytest.raises(ValueError, match="above 1"):
        ParetoHalving(1.0)
