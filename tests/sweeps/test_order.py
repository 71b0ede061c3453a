"""What comes first, against sorting everything anew each time; what waits; ranks that are a little old."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.frontier import minimised, ranks
from sweeps.judging.order import Order

OBJECTIVES = {"a": "max", "b": "max"}
Key = tuple[int, str]


def _values(a: float, b: float) -> dict[str, float]:
    return {"a": a, "b": b}


class Sorted:
    """The definition: all ranks are taken for every answer."""

    def __init__(self) -> None:
        self.points: dict[Key, dict[str, float]] = {}
        self.offers: dict[Key, tuple[int, bool]] = {}

    def first(self, *, running: bool) -> Key | None:
        rank = dict(zip(self.points, ranks(minimised(list(self.points.values()), OBJECTIVES)).tolist(), strict=True))
        candidates = [
            (rank[key], depth, key)
            for key, (depth, late) in self.offers.items()
            if not (late and running and rank[key] > 0)
        ]
        return min(candidates)[2] if candidates else None


keys = st.tuples(st.integers(0, 6), st.just("validation"))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("place"), keys, st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("offer"), keys, st.integers(0, 3), st.booleans()),
        st.tuples(st.just("withhold"), keys, st.just(0), st.just(0)),
        st.tuples(st.just("remove"), keys, st.just(0), st.just(0)),
        st.tuples(st.just("first"), keys, st.booleans(), st.just(0)),
    ),
    max_size=60,
)


@given(steps=steps)
def test_few_points_are_taken_as_if_all_were_sorted_each_time(steps: list[tuple[str, Key, int, int]]) -> None:
    order, plain = Order[Key](OBJECTIVES), Sorted()
    for what, key, one, two in [*steps, ("first", (0, ""), False, 0), ("first", (0, ""), True, 0)]:
        if what == "place":
            order.place(key, _values(one, two))
            plain.points[key] = _values(one, two)
        elif what == "offer" and key in plain.points:
            order.offer(key, one, late=bool(two))
            plain.offers[key] = one, bool(two)
        elif what == "withhold":
            order.withhold(key)
            plain.offers.pop(key, None)
        elif what == "remove":
            order.remove(key)
            plain.points.pop(key, None)
            plain.offers.pop(key, None)
        elif what == "first":
            assert order.first(running=bool(one)) == plain.first(running=bool(one))


def test_a_late_piece_of_one_that_is_not_likely_waits_while_anything_runs() -> None:
    order = Order[Key](OBJECTIVES)
    order.place((0, ""), _values(2, 2))
    order.place((1, ""), _values(1, 1))
    order.offer((1, ""), 3, late=True)
    assert order.first(running=True) is None
    assert order.first(running=False) == (1, "")
    order.place((0, ""), _values(0, 0))
    assert order.first(running=True) == (1, "")


def test_among_many_points_what_became_unlikely_loses_its_precedence_at_once() -> None:
    """A thousand points on a line, none better than another: one change is too few for ranks to be taken anew."""
    order = Order[Key](OBJECTIVES)
    for number in range(1000):
        order.place((number, ""), _values(number, 1000 - number))
        order.offer((number, ""), 0)
    assert order.first(running=True) == (0, "")
    order.place((0, ""), _values(-1, -1))
    assert order.first(running=True) == (1, "")


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_all_work_is_given_out_whatever_the_ranks(seed: int) -> None:
    """Old ranks order, and lose nothing: several hundred points that move while they are worked on."""
    chance = np.random.default_rng(seed)
    order, left = Order[Key](OBJECTIVES), dict.fromkeys(((number, "") for number in range(300)), 4)
    for each in left:
        order.place(each, _values(*chance.integers(10, 20, 2).tolist()))
        order.offer(each, 0)
    given_out = 0
    while (key := order.first(running=bool(chance.integers(2))) or order.first(running=False)) is not None:
        left[key] -= 1
        given_out += 1
        order.place(key, _values(*chance.integers(0, left[key] + 1, 2).tolist()))
        if left[key]:
            order.offer(key, 4 - left[key], late=left[key] < 2)
        else:
            order.remove(key)
    assert given_out == 4 * 300
    assert not any(left.values())
