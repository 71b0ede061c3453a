"""Dominance, frontiers and hypervolume against brute force and closed forms; Wilson against known values."""

from __future__ import annotations

import io
import math
import random
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from analysis.pareto import dominates, frontier, hypervolume, nondominated, wilson

# Few values, so that ties, duplicates and missing numbers are common.
_value = st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.7, 1.0, float("nan")])
_modes = st.lists(st.sampled_from(["max", "min"]), min_size=1, max_size=4)


@st.composite
def _tables(draw: st.DrawFn) -> tuple[list[list[float]], list[str]]:
    modes = draw(_modes)
    return draw(st.lists(st.lists(_value, min_size=len(modes), max_size=len(modes)), max_size=24)), modes


def _beats(a: list[float], b: list[float], modes: list[str]) -> bool:
    gains = [x - y if mode == "max" else y - x for x, y, mode in zip(a, b, modes, strict=True)]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def _brute(rows: list[list[float]], modes: list[str]) -> list[bool]:
    known = [row for row in rows if not any(map(math.isnan, row))]
    return [not any(map(math.isnan, row)) and not any(_beats(other, row, modes) for other in known) for row in rows]


@settings(deadline=None)
@given(_tables(), st.randoms(use_true_random=False))
def test_frontier_is_brute_force_in_any_order(
    table: tuple[list[list[float]], list[str]], shuffler: random.Random
) -> None:
    rows, modes = table
    names = [f"objective_{i}" for i in range(len(modes))]
    objectives = dict(zip(names, modes, strict=True))
    df = pd.DataFrame(rows, columns=names, dtype=float).assign(trial=range(len(rows)))
    expected = [trial for trial, stands in enumerate(_brute(rows, modes)) if stands]
    assert frontier(df, objectives)["trial"].tolist() == expected
    order = list(range(len(rows)))
    shuffler.shuffle(order)
    shuffled = frontier(df.iloc[order], objectives)["trial"].tolist()
    assert shuffled == [trial for trial in order if trial in set(expected)]


@settings(deadline=None)
@given(_tables())
def test_dominates_agrees_with_its_definition(table: tuple[list[list[float]], list[str]]) -> None:
    rows, modes = table
    maximise = [mode == "max" for mode in modes]
    for a, b in product(rows[:6], repeat=2):
        assert dominates(a, b, maximise) == _beats(a, b, modes)


def test_a_tie_is_not_domination() -> None:
    assert not dominates([0.5, 0.5], [0.5, 0.5])
    assert dominates([0.5, 0.6], [0.5, 0.5])
    assert nondominated([[0.5, 0.5], [0.5, 0.5], [0.4, 0.5]]).tolist() == [True, True, False]


def test_only_complete_feasible_rows_take_part() -> None:
    df = pd.DataFrame(
        {"x": [0.9, 0.8, 0.5], "status": ["stopped", "complete", "complete"], "feasible": [True, False, True]}
    )
    assert frontier(df, {"x": "max"})["x"].tolist() == [0.5]


def test_flagged_rows_are_on_no_frontier_also_after_a_csv_file() -> None:
    df = pd.DataFrame({"x": [0.9, 0.8, 0.5], "flags": ["outside", "", ""]})
    assert frontier(df, {"x": "max"})["x"].tolist() == [0.8]
    assert frontier(pd.read_csv(io.StringIO(df.to_csv())), {"x": "max"})["x"].tolist() == [0.8]
    assert frontier(df.assign(flags=np.nan), {"x": "max"})["x"].tolist() == [0.9]


def test_an_empty_table_has_an_empty_frontier() -> None:
    assert frontier(pd.DataFrame({"x": [], "y": []}, dtype=float), {"x": "max", "y": "min"}).empty


@pytest.mark.parametrize(("objectives", "message"), [({}, "at least one"), ({"x": "up"}, "'up' is neither")])
def test_wrong_objectives_are_told(objectives: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frontier(pd.DataFrame({"x": [1.0]}), objectives)


def test_an_unknown_column_is_told() -> None:
    with pytest.raises(KeyError, match="lipschitz"):
        frontier(pd.DataFrame({"x": [1.0]}), {"lipschitz": "min"})


@pytest.mark.parametrize(
    ("points", "reference", "maximise", "volume"),
    [
        ([], 0.0, True, 0.0),
        ([[0.5, 0.4]], 0.0, True, 0.2),
        ([[0.5, 0.5], [0.9, 0.1]], 0.0, True, 0.29),
        ([[0.9, 0.1], [0.5, 0.5], [0.5, 0.5], [0.4, 0.3]], 0.0, True, 0.29),  # order, copies, dominated: no matter
        ([[0.5, 0.5], [-1.0, 3.0]], 0.0, True, 0.25),  # below the reference adds nothing
        ([[0.5, 0.5]], 0.25, True, 0.0625),
        ([[0.5, 0.5]], [0.5, 0.0], True, 0.0),
        ([[0.2, 0.3]], 1.0, False, 0.56),
        ([[0.8, 0.3]], [0.0, 1.0], [True, False], 0.56),
        ([[0.5, 0.5, 0.5]], 0.0, True, 0.125),
    ],
)
def test_hypervolume_in_closed_form(
    points: list[list[float]], reference: float | list[float], maximise: bool | list[bool], volume: float
) -> None:
    assert hypervolume(points, reference, maximise=maximise) == pytest.approx(volume, abs=1e-12)


def test_a_staircase_has_its_area() -> None:
    n = 10
    points = [[(i + 1) / n, (n - i) / n] for i in range(n)]
    assert hypervolume(points) == pytest.approx((n + 1) / (2 * n))


def test_hypervolume_refuses_missing_values() -> None:
    with pytest.raises(ValueError, match="missing"):
        hypervolume([[0.5, np.nan]])


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 1998, table I, method 3."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=5.1e-5)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_solves_its_equation(counts: tuple[int, int]) -> None:
    """Its ends are the proportions p with |observed - p| = z sqrt(p (1 - p) / n)."""
    successes, n = counts
    for end in wilson(successes, n):
        assert (successes / n - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / n, abs=1e-9)


def test_wilson_of_no_images_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@settings(deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(1.0, 4.0))
def test_wilson_is_scipys_for_any_critical_value(counts: tuple[int, int], z: float) -> None:
    found = binomtest(*counts).proportion_ci(confidence_level=float(2 * norm.cdf(z) - 1), method="wilson")
    assert wilson(*counts, z) == pytest.approx((found.low, found.high), abs=1e-9)


def test_wilson_takes_the_mean_over_passes_of_a_randomised_model() -> None:
    (low, high), (below, above) = wilson(50.5, 100), wilson(50, 100)
    assert below < low < 0.505 < high < wilson(51, 100)[1]
    assert above < high


@pytest.mark.parametrize("counts", [(5, 4), (-1, 4), (1, 0)])
def test_wilson_refuses_impossible_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        wilson(*counts)
