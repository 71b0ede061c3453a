"""Who is dominated by what stands, against comparing all with all."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from sweeps.frontier import dominates
from sweeps.judging.pruning import Pruning

OBJECTIVES = {"a": "max", "b": "min"}
steps = st.lists(
    st.tuples(
        st.sampled_from(["stand", "stand", "bound", "bound", "remove"]),
        st.integers(0, 8),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=60,
)


@given(steps=steps)
def test_the_frontier_and_whom_it_dominates_are_those_of_comparing_all_with_all(
    steps: list[tuple[str, int, int, int]],
) -> None:
    pruning = Pruning(OBJECTIVES)
    standing: dict[int, dict[str, float]] = {}
    bounds: dict[int, dict[str, float]] = {}
    for what, setting, a, b in steps:
        values = {"a": float(a), "b": float(b)}
        standing.pop(setting, None)
        bounds.pop(setting, None)
        if what == "stand":
            pruning.stand(setting, values)
            standing[setting] = values
        elif what == "bound":
            pruning.bound(setting, values)
            bounds[setting] = values
        else:
            pruning.remove(setting)
        front = [s for s, place in standing.items() if not any(map(_dominates(place), standing.values()))]
        assert pruning.frontier == sorted(front)
        for each in range(9):
            assert pruning.stands(each) == (each in standing)
            better = [s for s in front if each in bounds and _dominates(bounds[each])(standing[s])]
            assert sorted(pruning.better(each)) == sorted(better)


@given(steps=steps)
def test_every_change_of_the_answer_is_reported(steps: list[tuple[str, int, int, int]]) -> None:
    pruning = Pruning(OBJECTIVES)
    seen = dict.fromkeys(range(9), False)
    for what, setting, a, b in steps:
        if what == "remove":
            pruning.remove(setting)
        else:
            (pruning.stand if what == "stand" else pruning.bound)(setting, {"a": float(a), "b": float(b)})
        now = {each: bool(pruning.better(each)) for each in seen}
        assert {each for each in seen if now[each] != seen[each]} <= pruning.changed()
        assert pruning.changed() == set()
        seen = now


def _dominates(place: dict[str, float]) -> Callable[[dict[str, float]], bool]:
    """Whether another one dominates a place."""
    return lambda other: dominates(other, place, OBJECTIVES)
