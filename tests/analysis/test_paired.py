"""Paired statistics against closed forms: the bootstrap, non-domination, the simultaneous band, McNemar, Holm, seeds."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, multivariate_normal, norm

from analysis import paired
from analysis.pareto import Z, dominates, wilson

Array = NDArray[np.float64]


def _right(images: int, *counts: int) -> Array:
    """[len(counts), images]: each model is right about as many images, the first ones."""
    return np.array([[1.0] * k + [0.0] * (images - k) for k in counts])


def _draw(generator: np.random.Generator, images: int, levels: Array) -> Array:
    """Verdicts [len(levels), images] that are right with probability Phi(level), and hard images are hard for all."""
    latent = generator.normal(size=images) + 0.5 * generator.normal(size=(len(levels), images))
    return np.asarray(latent < np.sqrt(1.25) * levels[:, None], dtype=float)


def test_a_resample_draws_each_image_binomially() -> None:
    """An image is drawn k of N times with probability binom(N, 1/N)."""
    images, resamples = 50, 20_000
    drawn = np.round(images * paired.resample(np.eye(images)[0], resamples=resamples))
    for k in range(4):
        p = binom.pmf(k, images, 1 / images)
        assert (drawn == k).mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / resamples))


def test_resamples_have_the_standard_error_and_the_covariance_of_the_verdicts() -> None:
    verdicts = _draw(np.random.default_rng(1), 500, np.array([1.2, 0.0]))
    means = paired.resample(verdicts, resamples=8000)
    accuracy = verdicts.mean(axis=1)
    np.testing.assert_allclose(paired.standard_error(verdicts), np.sqrt(accuracy * (1 - accuracy) / 500))
    np.testing.assert_allclose(np.cov(means.T), np.cov(verdicts, ddof=0) / 500, rtol=0.08)
    np.testing.assert_allclose(
        means.mean(axis=0), accuracy, atol=4 * paired.standard_error(verdicts).max() / np.sqrt(8000)
    )


def test_resamples_are_shared_by_all_models_whatever_stands_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    verdicts = (generator.random((5, 2, 300)) < 0.6).astype(float)
    means = paired.resample(verdicts, resamples=100)
    order = generator.permutation(5)
    np.testing.assert_array_equal(paired.resample(verdicts[order], resamples=100), means[:, order])
    np.testing.assert_array_equal(paired.resample(verdicts[3], resamples=100), means[:, 3])
    monkeypatch.setattr(paired, "_DRAWS", 1000)  # blocks of 3 resamples, which only bound memory
    np.testing.assert_array_equal(paired.resample(verdicts, resamples=100), means)
    assert not np.array_equal(paired.resample(verdicts, resamples=100, seed=1), means)


def _share(verdicts: Array, resamples: int = 2000) -> Array:
    """Of models [K, 2, N] whose objectives are both accuracies."""
    return paired.nondominated_share(paired.resample(verdicts, resamples=resamples), [True, True])


def test_equal_models_tie_and_all_stand() -> None:
    model = _draw(np.random.default_rng(3), 400, np.array([1.0, 0.0]))
    assert _share(np.stack([model, model, model])).tolist() == [1.0, 1.0, 1.0]


def test_fractions_in_another_order_tie_too() -> None:
    """Both models are right in 1.5 of 3 passes over every three images, in sums that round differently."""
    a, b = np.tile([0.1, 0.2, 0.3], 40), np.full(120, 0.2)
    means = paired.resample(np.stack([a, b]), resamples=200)
    ties = np.isclose(means[:, 0], means[:, 1], rtol=0, atol=1e-12)
    assert ties.any()
    np.testing.assert_array_equal(means[ties, 0], means[ties, 1])


def test_a_model_that_is_far_behind_never_stands() -> None:
    good, bad = _right(1000, 900, 500), _right(1000, 700, 300)
    assert _share(np.stack([bad, good])).tolist() == [0.0, 1.0]


def test_two_models_exactly() -> None:
    """With equal clean verdicts and b and c discordant images, A is dominated where fewer of b than of c are drawn."""
    images, b, c, resamples = 200, 6, 3, 20_000
    clean = np.ones(images)
    robust = _right(images, 100, 100)
    robust[0, 100 : 100 + b] = 1
    robust[1, 100 + b : 100 + b + c] = 1
    drawn = np.arange(60)
    either = binom.pmf(drawn, images, (b + c) / images)
    a_dominated = float(np.sum(either * binom.cdf((drawn - 1) // 2, drawn, b / (b + c))))
    b_dominated = float(np.sum(either * binom.cdf((drawn - 1) // 2, drawn, c / (b + c))))
    share = _share(np.array([[clean, robust[0]], [clean, robust[1]]]), resamples)
    np.testing.assert_allclose(share, [1 - a_dominated, 1 - b_dominated], atol=4 * 0.5 / np.sqrt(resamples))
    assert share.sum() > 1  # ties count for both


def test_two_independent_models_as_normal_theory_has_it() -> None:
    """A is dominated where both differences A - B, normal with the verdicts' covariance / N, are at most 0."""
    generator = np.random.default_rng(4)
    images, resamples = 4000, 4000
    verdicts = (generator.random((2, 2, images)) < np.array([[[0.80], [0.50]], [[0.805], [0.51]]])).astype(float)
    difference = verdicts[0] - verdicts[1]
    covariance = np.cov(difference, ddof=0) / images
    half = 0.5 / images  # counts are whole: continuity
    at_most = multivariate_normal(difference.mean(axis=1), covariance).cdf
    dominated = at_most([half, half])
    expected = 1 - dominated
    assert 0.1 < expected < 0.9
    assert _share(verdicts, resamples)[0] == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(resamples))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_the_share_is_brute_force_in_any_order(seed: int, models: int) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, size=(20, models, 3)).astype(float)  # ties are common
    maximise = [True, True, False]
    share = paired.nondominated_share(values, maximise)
    for k in range(models):
        beaten = [any(dominates(point, points[k], maximise) for point in points) for points in values]
        assert share[k] == pytest.approx(1 - np.mean(beaten))
    order = generator.permutation(models)
    np.testing.assert_array_equal(paired.nondominated_share(values[:, order], maximise), share[order])


def test_the_critical_value_of_independent_accuracies_is_sidaks() -> None:
    """P(max |t| <= c) = P(|t| <= c)^m."""
    m = 20
    verdicts = (np.random.default_rng(5).random((m, 2000)) < 0.5).astype(float)
    c = paired.simultaneous(
        paired.resample(verdicts, resamples=8000), verdicts.mean(axis=1), paired.standard_error(verdicts)
    )
    assert c == pytest.approx(norm.ppf((1 + 0.95 ** (1 / m)) / 2), abs=0.1)


def test_copies_of_one_accuracy_need_no_more_than_one() -> None:
    one = (np.random.default_rng(6).random(2000) < 0.5).astype(float)
    verdicts = np.stack([one] * 10)
    means = paired.resample(verdicts, resamples=8000)
    c = paired.simultaneous(means, verdicts.mean(axis=1), paired.standard_error(verdicts))
    assert Z <= c == pytest.approx(Z, abs=0.06)


def test_what_never_moves_takes_no_part_in_the_band() -> None:
    always = np.ones((3, 50))
    means = paired.resample(always, resamples=50)
    assert paired.simultaneous(means, always.mean(axis=1), paired.standard_error(always)) == Z


def test_the_simultaneous_band_holds_in_95_of_100_samples_and_single_intervals_do_not() -> None:
    generator = np.random.default_rng(7)
    levels = np.array([1.3, 1.1, 0.9, 0.7, -0.3, 0.0, 0.2, 0.4])  # clean and robust of four models
    images, samples = 300, 400
    truth, held = norm.cdf(levels), {"band": 0, "single": 0}
    for _ in range(samples):
        verdicts = _draw(generator, images, levels)
        accuracy, error = verdicts.mean(axis=1), paired.standard_error(verdicts)
        seed = int(generator.integers(2**32))
        c = paired.simultaneous(paired.resample(verdicts, resamples=400, seed=seed), accuracy, error)
        for name, z in (("band", c), ("single", Z)):
            ends = np.array([wilson(k, images, z) for k in accuracy * images])
            held[name] += bool(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).all())
    assert held["band"] / samples == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / samples))
    assert held["single"] / samples < 0.85


def test_the_interval_of_a_difference_is_that_of_normal_theory() -> None:
    verdicts = _draw(np.random.default_rng(8), 2000, np.array([0.8, 0.7]))
    means = paired.resample(verdicts, resamples=8000)
    low, high = paired.interval(means[:, 0] - means[:, 1])
    difference = verdicts[0] - verdicts[1]
    error = difference.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx(
        (difference.mean() - Z * error, difference.mean() + Z * error), abs=0.15 * error
    )
    alone = np.sqrt((paired.standard_error(verdicts) ** 2).sum())
    assert error < 0.75 * alone  # what images have in common cancels


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"), [(10, 2, 158 / 4096), (2, 10, 158 / 4096), (5, 0, 1 / 16), (0, 0, 1), (3, 3, 1)]
)
def test_mcnemar_is_the_binomial_of_the_discordant_images(only_a: int, only_b: int, p: float) -> None:
    both = [1.0] * 30 + [0.0] * 20
    a, b = both + [1.0] * only_a + [0.0] * only_b, both + [0.0] * only_a + [1.0] * only_b
    assert paired.mcnemar(a, b) == pytest.approx(p)


def test_fractions_are_compared_by_flipping_signs() -> None:
    """All 2^10 flips, counted; 9,999 random ones come near."""
    generator = np.random.default_rng(9)
    a, b = generator.integers(0, 21, size=(2, 10)) / 20
    b = b / 2
    gain = a - b
    flips = np.array(list(product([-1.0, 1.0], repeat=10))) @ gain
    exact = (np.abs(flips) >= abs(gain.sum()) - 1e-9).mean()
    assert 0.001 < exact < 0.5
    assert paired.mcnemar(a, b) == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))
    assert paired.mcnemar(b, a) == paired.mcnemar(a, b)


def test_flipping_signs_generalises_mcnemar() -> None:
    a, b = np.array([1.0] * 14 + [0.0] * 5), np.array([0.0] * 14 + [1.0] * 5)
    exact = paired.mcnemar(a, b)
    assert paired.mcnemar(a / 2, b / 2) == pytest.approx(exact, abs=4 * np.sqrt(exact / 9999))


def test_holm_as_published_in_textbooks() -> None:
    np.testing.assert_allclose(paired.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert paired.holm([]).tolist() == []
    assert paired.holm([0.2]).tolist() == [0.2]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.02, 0.2, 1.0]), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_holm_rejects_what_its_steps_reject(p: list[float], shuffler: random.Random) -> None:
    """Step down from the smallest while p_(k) <= alpha / (n - k + 1); equal p-values share a fate."""
    adjusted = paired.holm(p)
    for alpha in (0.01, 0.05, 0.5):
        rejected = 0
        for k, value in enumerate(sorted(p)):
            if value * (len(p) - k) > alpha:
                break
            rejected += 1
        threshold = sorted(p)[rejected - 1] if rejected else -1.0
        np.testing.assert_array_equal(adjusted <= alpha, np.array(p) <= threshold)
    order = list(range(len(p)))
    shuffler.shuffle(order)
    np.testing.assert_allclose(paired.holm([p[i] for i in order]), adjusted[order])
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p))).all()


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=5),
    st.lists(st.floats(-1, 1), min_size=2, max_size=30),
)
def test_what_images_add_to_all_seeds_is_no_spread(seeds: list[float], images: list[float]) -> None:
    """v_si = a_s + b_i has no residual, so the spread is the standard deviation of a, whatever b."""
    assert paired.spread(np.add.outer(seeds, images)) == pytest.approx(np.std(seeds, ddof=1), abs=1e-6)


def test_copies_of_one_seed_have_no_spread() -> None:
    one = _draw(np.random.default_rng(10), 300, np.array([0.5]))
    assert paired.spread(np.repeat(one, 3, axis=0)) == 0.0


def test_the_spread_is_that_of_seeds_without_the_noise_of_images() -> None:
    """Seeds with accuracies 0.6 +- 0.03 on 300 images: the plain variance is nearly twice too large."""
    generator = np.random.default_rng(11)
    sd, images = 0.03, 300
    found, plain = [], []
    for _ in range(400):
        seeds = generator.normal(0.6, sd, size=(5, 1))
        verdicts = (generator.random((5, images)) < seeds).astype(float)
        found.append(paired.spread(verdicts) ** 2)
        plain.append(verdicts.mean(axis=1).var(ddof=1))
    assert np.mean(found) == pytest.approx(sd**2, rel=0.12)
    assert np.mean(plain) > 1.6 * sd**2


def test_seeds_go_up_and_down_together_as_they_were_made_to() -> None:
    """Accuracies of two kinds share 3/4 of the variance from seed to seed; images are the same for all seeds."""
    generator = np.random.default_rng(7)
    settings, seeds, images = 60, 4, 400
    truth = 0.02**2 * np.array([[1.0, 0.75], [0.75, 1.0]])
    chance = 0.6 + generator.multivariate_normal([0, 0], truth, size=(settings, seeds))
    verdicts = (generator.random((settings, seeds, 2, images)) < chance[..., None]).astype(float)
    found = paired.seed_covariance(list(verdicts))
    assert found is not None
    np.testing.assert_allclose(found, truth, atol=0.35 * 0.02**2)
    assert paired.seed_covariance([verdicts[0, :1]]) is None
