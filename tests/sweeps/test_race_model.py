"""The parts of a race's model, in closed form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from sweeps.search.race import ehvi
from sweeps.search.race.cokriging import CoKriging, Level, regression
from sweeps.search.race.encoding import Encoding
from sweeps.search.race.gp import GP, Hyper, fit, matern, negative_log_posterior
from sweeps.search.race.model import fit_size, thinned
from sweeps.search.race.warping import half_rank, where
from sweeps.space import Sweep
from sweeps.space.distributions import Distribution, Parameter
from tests.sweeps.raced import SPACE, any_setting, ask

RNG = np.random.default_rng
SPACES = Path(__file__).parents[2] / "search_spaces"
LOW = np.zeros(2)


# gains


def test_one_point_in_closed_form() -> None:
    """No frontier: the gain is E max(Y1 - r1, 0) E max(Y2 - r2, 0)."""
    mean, spread = np.array([[0.3, -0.1]]), np.array([[0.2, 0.4]])
    z = mean / spread
    wanted = np.prod(spread * (z * norm.cdf(z) + norm.pdf(z)))
    assert ehvi.gain(mean, spread**2, np.zeros((0, 2)), LOW)[0] == pytest.approx(wanted, rel=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_certain_values_gain_what_the_hypervolume_gains(seed: int, n: int) -> None:
    front, values = RNG(seed).uniform(-0.2, 1, (n, 2)), RNG(seed + 1).uniform(-0.2, 1, (4, 2))

    def volume(points: Any) -> float:
        return float(moocore.hypervolume(-np.concatenate([points, [[0.0, 0.0]]]), ref=[0.0, 0.0]))

    wanted = [volume(np.concatenate([front, value[None]])) - volume(front) for value in values]
    assert ehvi.gained(values, front, LOW).tolist() == pytest.approx(wanted, abs=1e-8)


@pytest.mark.parametrize("m", [1, 2])
def test_gains_are_what_draws_gain_on_average(m: int) -> None:
    rng = RNG(m)
    front = np.array([[0.2, 0.8, 0.4], [0.5, 0.5, 0.5], [0.7, 0.3, 0.6]])[:, :m]
    mean, spread = np.array([[0.45, 0.6, 0.3]])[:, :m], np.array([[0.3, 0.2, 0.1]])[:, :m]
    draws = mean + spread * rng.standard_normal((40_000, m))
    sampled = ehvi.gained(draws, front, np.zeros(m))
    wanted, error = sampled.mean(), sampled.std() / 200
    assert abs(ehvi.gain(mean, spread**2, front, np.zeros(m))[0] - wanted) < 4 * error


def test_one_objective_is_expected_improvement() -> None:
    mean, spread, best = np.array([[0.4], [0.9]]), np.array([[0.3], [0.1]]), 0.6
    z = (mean - best) / spread
    wanted = ((mean - best) * norm.cdf(z) + spread * norm.pdf(z))[:, 0]
    found = ehvi.gain(mean, spread**2, np.array([[0.1], [best]]), np.zeros(1))
    assert found.tolist() == pytest.approx(wanted.tolist(), rel=1e-12)


def test_three_objectives_gain_in_proportion_to_the_hypervolume() -> None:
    """Over 64 directions only about: the ratio to the exact gain is the same for all points, within a fifth."""
    front = np.array([[0.2, 0.8, 0.5], [0.6, 0.4, 0.4], [0.5, 0.5, 0.8]])
    values = RNG(0).uniform(0.6, 1.0, (30, 3))
    exact = [float(moocore.hypervolume(-np.concatenate([front, v[None]]), ref=[0.0] * 3)) for v in values]
    gains = np.array(exact) - float(moocore.hypervolume(-front, ref=[0.0] * 3))
    ratio = ehvi.gained(values, front, np.zeros(3)) / gains
    assert np.std(ratio) / np.mean(ratio) < 0.2
    assert not ehvi.gained(front - 0.01, front, np.zeros(3)).any()


@given(st.integers(0, 10**6), st.floats(0.1, 10), st.floats(0.1, 10))
@settings(max_examples=20, deadline=None)
def test_units_of_objectives_change_all_gains_alike(seed: int, first: float, second: float) -> None:
    rng, unit = RNG(seed), np.array([first, second])
    front, mean, variance = rng.uniform(0, 1, (4, 2)), rng.uniform(0, 1, (5, 2)), rng.uniform(0.01, 0.1, (5, 2))
    plain = ehvi.gain(mean, variance, front, LOW)
    scaled = ehvi.gain(mean * unit, variance * unit**2, front * unit, LOW)
    assert scaled.tolist() == pytest.approx((plain * first * second).tolist(), rel=1e-6, abs=1e-12)


def test_the_reference_lies_a_tenth_below_the_frontier_and_not_below_a_floor() -> None:
    points = np.array([[0.9, 0.2], [0.5, 0.6], [0.1, 0.1]])
    assert ehvi.reference(points, np.full(2, -np.inf)).tolist() == pytest.approx([0.5 - 0.04, 0.2 - 0.04])
    assert ehvi.reference(points, np.array([-np.inf, 0.4])).tolist() == pytest.approx([0.46, 0.4])
    assert ehvi.reference(points[:1], np.full(2, -np.inf)).tolist() == pytest.approx([0.895, 0.195])


# processes


def some(n: int, d: int = 2, m: int = 2, seed: int = 0) -> tuple[Any, Any]:
    x = RNG(seed).random((n, d))
    return x, np.stack([np.sin(3 * x.sum(1)), x[:, 0] ** 2][:m], axis=1)


def test_the_posterior_is_the_textbooks() -> None:
    """mean k'(K + v)^-1 z and variance 1 - k'(K + v)^-1 k, by plain inversion."""
    x, y = some(7)
    hyper = Hyper(np.array([-0.3, 0.2]), -2.0)
    new = RNG(1).random((4, 2))
    r = np.sqrt((((np.concatenate([x, new])[:, None] - x[None]) / np.exp(hyper.lengths)) ** 2).sum(2))
    kernel = (1 + math.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-math.sqrt(5) * r)
    inverse = np.linalg.inv(kernel[:7] + (math.exp(-2.0) + 1e-8) * np.eye(7))
    z = (y - y.mean(0)) / y.std(0)
    signal = (np.einsum("nm,nk,km->m", z, inverse, z) + 1) / 8
    mean = y.mean(0) + y.std(0) * (kernel[7:] @ inverse @ z)
    variance = (1 - np.einsum("nk,kl,nl->n", kernel[7:], inverse, kernel[7:]))[:, None] * signal * y.std(0) ** 2
    found = GP(x, y, hyper)
    assert np.allclose(found.predict(new)[0], mean)
    assert np.allclose(found.mean(new), mean)
    assert np.allclose(found.predict(new)[1], variance)
    assert np.allclose(matern(x, x).diagonal(), 1)


def test_the_slope_is_the_posteriors() -> None:
    x, y = some(9, d=3)
    z = (y - y.mean(0)) / y.std(0)
    for point in RNG(2).normal(-0.5, 0.5, (3, 4)):
        near = [
            negative_log_posterior(point + step, x, z, -0.2)[0]
            for step in 1e-6 * np.concatenate([np.eye(4), -np.eye(4)])
        ]
        slope = (np.array(near[:4]) - np.array(near[4:])) / 2e-6
        assert np.allclose(negative_log_posterior(point, x, z, -0.2)[1], slope, atol=1e-4)


def test_an_input_that_does_nothing_gets_a_long_length() -> None:
    x, _ = some(40)
    hyper = fit(x, np.sin(6 * x[:, :1]))
    assert hyper.lengths[1] > hyper.lengths[0] + 0.5


def test_units_of_outputs_do_not_matter() -> None:
    x, y = some(12)
    hyper, other = fit(x, y), fit(x, 100 * y + 7)
    assert np.allclose(hyper.lengths, other.lengths, atol=1e-3)
    new = RNG(3).random((3, 2))
    assert np.allclose(100 * GP(x, y, hyper).predict(new)[0] + 7, GP(x, 100 * y + 7, hyper).predict(new)[0])


# rungs


def test_a_rung_that_follows_from_the_one_before() -> None:
    """y_2 = A y_1 + c exactly: settings that never came to rung 2 are predicted there, and hardly in doubt."""
    x, first = some(60)
    matrix, shift = np.array([[1.1, 0.1], [0.0, 0.8]]), np.array([0.1, 0.2])
    second = first @ matrix.T + shift
    levels = [Level(x, first, np.zeros_like(first)), Level(x[:20], second[:20], first[:20])]
    model = CoKriging(levels)
    mean, variance = model.predict(x[20:])
    assert np.abs(mean - second[20:]).max() < 0.05
    assert np.allclose(model.mean(x[20:]), mean)
    assert np.sqrt(variance).max() < 0.05


def test_nothing_measured_at_a_rung_means_as_before_with_more_doubt() -> None:
    x, first = some(12)
    nothing = Level(x[:0], first[:0], first[:0])
    model = CoKriging([Level(x, first, np.zeros_like(first)), nothing])
    early, doubt = model.predict(x, upto=0)
    late, more = model.predict(x)
    assert np.allclose(early, late)
    assert np.allclose(more - doubt, 0.1**2)
    bare = CoKriging([nothing, nothing])
    assert np.allclose(bare.predict(x)[0], 0.5)
    assert np.allclose(bare.predict(x)[1], 0.3**2 + 0.1**2)


def test_own_values_stand_where_they_were_measured() -> None:
    x, first = some(12)
    levels = [Level(x, first, np.zeros_like(first)), Level(x[:8], first[:8] + 0.1, first[:8])]
    known = np.full((12, 2, 2), np.nan)
    known[:, 0], known[:8, 1] = first + 0.3, 2.0
    mean, variance = CoKriging(levels, own=True).predict(x, known)
    assert np.allclose(mean[:8], 2.0)
    assert not variance[:8].any()
    assert (np.abs(mean[8:] - first[8:] - 0.4) < 0.05).all()


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_regression_of_much_is_least_squares_and_of_nothing_the_identity(seed: int) -> None:
    z = RNG(seed).standard_normal((5000, 2))
    matrix, shift = RNG(seed + 1).standard_normal((2, 2)), RNG(seed + 2).standard_normal(2)
    a, b = regression(z, z @ matrix.T + shift)
    assert np.allclose(b, matrix, atol=1e-3)
    assert np.allclose(a, shift, atol=1e-3)
    none = regression(z[:0], z[:0])
    assert (none[0].tolist(), none[1].tolist()) == ([0, 0], [[1, 0], [0, 1]])
    one = regression(z[:1], z[:1] + 0.2)
    assert np.allclose(one[0], 0.2)


# values and settings


def test_half_ranks_by_hand() -> None:
    column = np.array([0.0, 0.5, 0.6, 0.7, 0.8, 0.9])
    scale = math.sqrt(np.mean([0.05**2, 0.15**2, 0.25**2]))
    wanted = [*(0.65 + scale * norm.ppf(share / 6) for share in (0.5, 1.5, 2.5)), 0.7, 0.8, 0.9]
    assert half_rank(column[:, None])[:, 0].tolist() == pytest.approx(wanted)
    assert (half_rank(column[:5, None]) == column[:5, None]).all()


@given(st.lists(st.integers(0, 12), min_size=6, max_size=30), st.integers(-2, 14))
@settings(max_examples=40, deadline=None)
def test_limits_keep_their_side_of_each_value(values: list[int], limit: int) -> None:
    column = np.array(values, dtype=float)[:, None]
    at = where(np.array([limit - 0.5, -np.inf]), np.concatenate([column, column], axis=1))
    if np.ptp(column):
        assert ((half_rank(column) > at[0]) == (column > limit - 0.5)).all()
    assert at[1] == -np.inf


@given(st.lists(st.integers(0, 12), min_size=6, max_size=30), st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_warping_keeps_order_and_how_bad_does_not_matter(values: list[int], worse: int) -> None:
    column = np.array(values, dtype=float)
    warped = half_rank(column[:, None])[:, 0]
    assert (np.argsort(column, kind="stable") == np.argsort(np.round(warped, 12), kind="stable")).all()
    lowest = np.where(column == column.min(), column - worse, column)
    if column.min() < np.median(column) and np.ptp(column[column >= np.median(column)]):
        assert np.allclose(half_rank(lowest[:, None])[:, 0], warped)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_settings_there_and_back(seed: int) -> None:
    encoding, rng = Encoding(SPACE, ask), RNG(seed)
    params = any_setting(rng)
    row = encoding.coordinates(params)
    back = encoding.params(row)
    assert back.keys() == params.keys()
    assert back["beta"] == pytest.approx(params["beta"])
    assert {**back, "beta": 0} == {**params, "beta": 0}
    for rows in (encoding.random(rng, 20), encoding.mutated(rng, np.tile(row, (20, 1)), chance=0.4, step=0.15)):
        for each, key in zip(rows, encoding.keys(rows), strict=True):
            again = encoding.coordinates(encoding.params(each))  # checks that every value may be had
            assert encoding.keys(again[None])[0] == key
        inputs = encoding.inputs(rows)
        assert inputs.shape == (20, encoding.width)
        assert ((inputs >= 0) & (inputs <= 1)).all()
    moved = encoding.mutated(rng, np.tile(row, (20, 1)), chance=0.0, step=0.15)
    assert (
        encoding.keys(moved).count(encoding.keys(row[None])[0])
    ) <= 1  # at the end of a range a step may lead nowhere


def test_what_a_model_sees_of_settings() -> None:
    encoding = Encoding(SPACE, ask)
    rows = np.stack(
        [
            encoding.coordinates({"beta": 0.5, "eps": 1.0, "kind": "plain"}),
            encoding.coordinates({"beta": math.sqrt(10), "eps": 0.3, "kind": "wide", "kind.wide.layers": 6}),
        ]
    )
    assert encoding.inputs(rows).round(9).tolist() == [[0, 1, 1, 0, 0, 0.5], [0.5, 0.3, 0, 1, 0, 1]]
    numbers = Encoding([Parameter("n", Distribution("choice", choices=(1, 3, 9)))], ask)
    assert numbers.inputs(np.array([[0.0], [1.0], [2.0]]))[:, 0].tolist() == [0, 0.5, 1]
    assert np.isnan(numbers.coordinates({"n": 4})).all()
    many = Encoding([Parameter("n", Distribution("int", 0, 1000))], lambda s: {"n": s(many.axes[0].parameter)})
    assert many.params(many.coordinates({"n": 77})) == {"n": 77}


def test_sizes_of_fits_and_what_is_kept_of_many() -> None:
    assert [fit_size(n) for n in (7, 8, 9, 10, 11, 12, 13, 14)] == [0, 8, 8, 10, 10, 12, 12, 14]
    values = RNG(0).random((500, 2))
    values[::50] += 2
    kept = thinned(values, 100)
    assert len(set(kept.tolist())) == 100
    assert set(range(0, 500, 50)) <= set(kept.tolist())


@pytest.mark.parametrize("path", sorted(SPACES.glob("*.yaml")), ids=lambda path: path.stem)
def test_settings_of_shipped_spaces_there_and_back(path: Path) -> None:
    """Every setting that the race may draw is one of the space's, branches and all."""
    sweep, rng = Sweep.from_yaml(path), RNG(0)
    encoding = Encoding(sweep.space, sweep.ask)
    drawn = encoding.random(rng, 6)
    for row in np.concatenate([drawn, encoding.mutated(rng, drawn, chance=0.4, step=0.15)]):
        params = encoding.params(row)
        sweep.trial_config(params)
        assert encoding.plain(row) == params
        assert encoding.keys(encoding.coordinates(params)[None]) == encoding.keys(row[None])
