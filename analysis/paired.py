"""Statistics of models that were judged on the same images. Pure functions of their verdicts.

A verdict is 1 where a model is right about an image, 0 where it is wrong, or the fraction of forward passes that are right
for a randomised model. What is random here is which images were drawn; models are given. One resample of the images is
shared by all models, so that what they have in common (hard images) cancels in every comparison between them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from analysis.pareto import CONFIDENCE, Z
from sweeps import chances

Floats = NDArray[np.float64]
RESAMPLES = 2000
_DRAWS = 2**21  # images drawn at a time: some 50 MB, however many resamples there are
_FLIPS = 9999
DIGITS = 9  # of a mean: sums of the same fractions in another order tie


def resample(verdicts: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Accuracies on bootstrap resamples of the images (Efron, Annals of Statistics 1979).

    How often each image is drawn is multinomial, N draws with probability 1/N each; the accuracies of all models are one
    product of these counts with the verdicts, so each resample is the same images for every model.

    Args:
        verdicts: [..., N], any number of models and accuracies on N images.
        resamples: B, how many.
        seed: of the draws.

    Returns:
        [B, ...]; what a model gets does not depend on which others stand beside it.
    """
    given = np.asarray(verdicts, dtype=float)
    images = given.shape[-1]
    columns = given.reshape(-1, images).T
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, columns.shape[1]))
    block = max(1, _DRAWS // images)
    for begin in range(0, resamples, block):
        rows = min(block, resamples - begin)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
        means[begin : begin + rows] = np.round(counts @ columns / images, DIGITS)
    return means.reshape(resamples, *given.shape[:-1])


def standard_error(verdicts: ArrayLike) -> Floats:
    """Standard error of accuracies over the drawing of images, [..., N] to [...]: what `resample` has with B to infinity.

    sd / sqrt(N), which is sqrt(p (1 - p) / N) for verdicts of 0 and 1.
    """
    given = np.asarray(verdicts, dtype=float)
    return np.asarray(given.std(axis=-1) / np.sqrt(given.shape[-1]))


def nondominated_share(values: ArrayLike, maximise: Sequence[bool]) -> Floats:
    """`sweeps.chances.nondominated` of resamples, whichever way objectives are better.

    Args:
        values: [B, K, m] objectives of K models in B resamples; one without noise is the same in all of them.
        maximise: [m], which objectives are better when larger.

    Returns:
        [K].
    """
    drawn = np.asarray(values, dtype=float)
    return chances.nondominated(np.where(np.asarray(maximise, dtype=bool), -drawn, drawn))


def simultaneous(means: ArrayLike, estimates: ArrayLike, errors: ArrayLike) -> float:
    """Critical value c of a 95 % band that holds for all accuracies at once, of all models.

    The 95 % quantile over resamples of max_j |mean_j - estimate_j| / error_j, the sup-t band of Montiel Olea and
    Plagborg-Moller (Journal of Applied Econometrics 2019), by the bootstrap.
    `wilson(..., z=c)` is the band of one accuracy; with z = 1.96 it would hold for that one alone.

    Args:
        means: [B, ...] as `resample` gives them. estimates: [...] accuracies on the images themselves.
        errors: [...] their standard errors; an accuracy without one (0 or 1) never moves and takes no part.

    Returns:
        c, never less than the 1.96 of a single accuracy.
    """
    moving = np.asarray(errors, dtype=float) > 0
    if not moving.any():
        return Z
    deviations = np.abs(np.asarray(means)[:, moving] - np.asarray(estimates)[moving]) / np.asarray(errors)[moving]
    return max(Z, float(np.quantile(deviations.max(axis=1), CONFIDENCE, method="higher")))


def interval(means: ArrayLike) -> tuple[float, float]:
    """95 % percentile interval of bootstrap means [B]: for the difference of two models, of the difference of theirs."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.asarray(means, dtype=float), [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(a: ArrayLike, b: ArrayLike, *, seed: int = 0) -> float:
    """p-value that two models are equally accurate, by the images on which they differ.

    Verdicts of 0 and 1: the exact test of McNemar (Psychometrika 1947). Of n discordant images the number that only `a`
    gets right is binomial(n, 1/2); two-sided, 1 where there are none. Fractions of a randomised model: its generalisation,
    the paired sign-flip test of mean(a - b) with 9999 random flips (Fisher, 1935).

    Args:
        a: [N] verdicts of one model. b: [N] of the other, on the same images.
        seed: of the flips.
    """
    gain = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    gain = gain[gain != 0]
    if not len(gain):
        return 1.0
    if np.all(np.abs(gain) == 1):
        return float(binomtest(int((gain > 0).sum()), len(gain)).pvalue)
    generator = np.random.default_rng(seed)
    observed, block = abs(gain.sum()), max(1, _DRAWS // len(gain))
    as_large = 0
    for begin in range(0, _FLIPS, block):
        signs = 2.0 * generator.integers(2, size=(min(block, _FLIPS - begin), len(gain))) - 1
        as_large += int((np.round(np.abs(signs @ gain) - observed, DIGITS) >= 0).sum())
    return (1 + as_large) / (1 + _FLIPS)


def holm(p: ArrayLike) -> Floats:
    """p-values of n tests adjusted so that all are read at once (Holm, Scandinavian Journal of Statistics 1979).

    The k-th smallest becomes the largest (n - j + 1) p_(j) over j <= k, at most 1.
    """
    given = np.asarray(p, dtype=float)
    order = np.argsort(given, kind="stable")
    adjusted = np.empty_like(given)
    factors = np.arange(len(given), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * given[order]))
    return adjusted


def spread(verdicts: ArrayLike) -> float:
    """Standard deviation of accuracy from one training seed to the next, free of the noise of images: `seed_covariance`.

    Args:
        verdicts: [S, N] of the same options trained with S seeds, S and N at least 2.
    """
    covariance = seed_covariance([np.asarray(verdicts, dtype=float)[:, None]])
    return 0.0 if covariance is None else float(np.sqrt(covariance[0, 0]))


def seed_covariance(settings: Sequence[ArrayLike]) -> Floats | None:
    """Covariance of accuracies from one training seed to the next, free of the noise of images, pooled over settings.

    Two-way random effects of seeds and images (Searle, Casella and McCulloch, Variance Components, 1992): the covariance of
    the accuracies of S seeds less the residual mean square / N; for one accuracy of one setting

        s^2 - 1/N sum_si (v_si - v_s. - v_.i + v..)^2 / ((S - 1)(N - 1)),

    and 0 along directions where that is negative. Images that are hard for all seeds cancel, as all are judged on the same
    ones. Settings count by their S - 1.

    Args:
        settings: a setting each, [S, m, N] verdicts of m accuracies on N images, at least 2.

    Returns:
        [m, m]; None where no setting has two seeds.
    """
    known = [np.asarray(each, dtype=float) for each in settings if len(np.asarray(each)) > 1]
    total = chances.of_seeds([each.mean(axis=-1) for each in known])
    if total is None:
        return None
    freedom = sum(len(each) - 1 for each in known)
    by_images = np.zeros_like(total)
    for each in known:
        images = each.shape[-1]
        residual = each - each.mean(axis=-1, keepdims=True) - each.mean(axis=0) + each.mean(axis=(0, -1))[:, None]
        by_images += np.einsum("smn,skn->mk", residual, residual) / ((images - 1) * images)
    eigenvalues, axes = np.linalg.eigh(total - by_images / freedom)
    return np.asarray((axes * np.maximum(eigenvalues, 0.0)) @ axes.T)
