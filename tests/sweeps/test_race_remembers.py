"""What a race does once in place of many times: the same comes of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from sweeps.frontier import ranks
from sweeps.search.race.cokriging import CoKriging, Level
from sweeps.search.race.model import Fits, evenly, fit_size, thinned
from sweeps.search.race.remembered import Remembered
from sweeps.search.race.warping import half_rank


@given(st.booleans(), st.integers(0, 100), st.integers(1, 60), st.integers(1, 3), st.integers(1, 30))
def test_of_many_the_better_half_by_rank_is_kept_and_the_rest_evenly(
    ties: bool, seed: int, n: int, m: int, most: int
) -> None:
    values = np.random.default_rng(seed).random((n, m)).round(1 if ties else 9)
    kept = thinned(values, most)
    assert list(kept) == sorted(set(kept))
    if n <= most:
        assert len(kept) == n
        return
    order = np.argsort(ranks(-values), kind="stable")
    rest = np.sort(order[most // 2 :])
    assert set(kept) == {*order[: most // 2], *rest[evenly(len(rest), most - most // 2)]}


@given(st.lists(st.integers(0, 6), min_size=6, max_size=30))
def test_those_below_the_median_rank_among_themselves_as_among_all(values: list[int]) -> None:
    column = np.array(values, dtype=float)
    ranked = np.array([(column < each).sum() + ((column == each).sum() - 1) / 2 for each in column])
    below = column < np.median(column)
    upper = column[~below] - np.median(column)
    scale = np.sqrt((upper**2).mean()) or column.std()
    wanted = np.median(column) + scale * ndtri((ranked + 0.5) / len(column))
    assert np.allclose(half_rank(column[:, None])[below, 0], wanted[below])


def test_work_is_done_again_once_an_array_is_another() -> None:
    remembered, asked = Remembered(), list[NDArray[np.float64]]()

    def work(values: NDArray[np.float64]) -> float:
        asked.append(values)
        return float(values.sum())

    for values, wanted in (([1, 2], 3.0), ([1, 2], 3.0), ([1, 3], 4.0), ([1, 2], 3.0), ([1, 2, 0], 3.0)):
        assert remembered.of("sum", work, np.array(values, dtype=float)) == wanted
    assert len(asked) == 4
    assert remembered.of("another", work, np.array([1.0, 2.0, 0.0])) == 3.0
    assert len(asked) == 5
    nothing = np.array([np.nan])
    remembered.of("nan", work, nothing)
    remembered.of("nan", work, nothing)
    assert len(asked) == 7


@given(st.lists(st.integers(-1, 5), min_size=8, max_size=40))
@settings(max_examples=15, deadline=None)
def test_fits_are_of_the_first_reports_whatever_came_after_them(orders: list[int]) -> None:
    """Equal times of report, as of trials from elsewhere, count in the order of rows; one that saw more finds the same."""
    n = len(orders)
    rng = np.random.default_rng(n)
    x, y, when = rng.random((n, 2)), rng.random((n, 1, 2)), np.array(orders)[:, None]
    first = np.argsort(when[:, 0], kind="stable")[: fit_size(n)]
    warped = half_rank(y[first, 0])
    (wanted,) = CoKriging([Level(x[first], warped, warped)]).hypers
    fits = Fits(points=100)
    for upto in (n, max(n - 1, 8), n):
        found = fits.of_levels(x[:upto], y[:upto], when[:upto], own=False)
    assert wanted is not None
    assert found[0] is not None
    assert np.allclose(found[0].lengths, wanted.lengths)
    assert np.isclose(found[0].noise, wanted.noise)
