"""How probable it is that no other point dominates one, when all of them are known up to noise.

Two kinds of noise bear on a measured accuracy: which images it was measured on, and which seed the model was trained with.
Whoever has draws of the values, of one kind or both, asks `nondominated`; whoever has standard errors alone makes `normal`
draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweeps.frontier import undominated

Array = NDArray[np.float64]
DRAWS = 2000


def nondominated(draws: ArrayLike) -> Array:
    """Probability of being non-dominated: the share of draws in which no other point dominates one.

    A tie is no domination, in a draw as in the sweep: of points that tie in every objective all stand, so probabilities of
    several points may sum to more than 1.

    Args:
        draws: [B, K, m] objectives of K points in B joint draws, all better when smaller; one without noise is the same in all.

    Returns:
        [K].
    """
    points = np.asarray(draws, dtype=float)
    if points.ndim == 3 and points.shape[2] == 2 and not np.isnan(points).any():
        return np.asarray(_of_two(points).mean(axis=0))
    return np.asarray(np.mean([undominated(each) for each in points], axis=0))


def _of_two(draws: Array) -> NDArray[np.bool_]:
    """[B, K] which points of each draw no other one dominates, of two objectives: all draws at once.

    By rising first objective (then second), a point is dominated by one before it whose second is as small, where the first of
    that is smaller, or whose second is smaller.
    """
    count, points, _ = draws.shape
    if not points:
        return np.zeros((count, 0), dtype=np.bool_)
    order = np.lexsort((draws[:, :, 1], draws[:, :, 0]), axis=1)
    first, second = (np.take_along_axis(draws[:, :, axis], order, axis=1) for axis in (0, 1))
    before = np.minimum.accumulate(second, axis=1)
    least = np.concatenate([np.full((count, 1), np.inf), before[:, :-1]], axis=1)
    begins = np.concatenate([np.ones((count, 1), dtype=np.bool_), first[:, 1:] != first[:, :-1]], axis=1)
    group = np.maximum.accumulate(np.where(begins, np.arange(points), 0), axis=1)  # where those of an equal first begin
    smaller = np.take_along_axis(least, group, axis=1)
    found = np.empty((count, points), dtype=np.bool_)
    np.put_along_axis(found, order, ~((smaller <= second) | (least < second)), axis=1)
    return found


def normal(values: ArrayLike, covariance: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Draws of points whose errors are normal, and independent from point to point.

    What a point gets does not depend on which points come after it.

    Args:
        values: [K, m]. covariance: [K, m, m] of each point's errors, positive semi-definite, or [m, m] of all of them.
        draws: B, how many.
        seed: of the draws.

    Returns:
        [B, K, m].
    """
    centre = np.asarray(values, dtype=float)
    points, objectives = centre.shape
    spread = np.broadcast_to(np.asarray(covariance, dtype=float), (points, objectives, objectives))
    eigenvalues, axes = np.linalg.eigh(spread)
    roots = axes * np.sqrt(np.maximum(eigenvalues, 0.0))[:, None, :]
    generators = np.random.default_rng(seed).spawn(points)
    errors = np.stack([each.standard_normal((draws, objectives)) for each in generators], axis=1)
    drawn: NDArray[np.float64] = centre + np.einsum("kij,bkj->bki", roots, errors)
    return drawn


def of_images(accuracy: ArrayLike, images: ArrayLike) -> Array:
    """Variance p (1 - p) / n of accuracies p over the drawing of n images."""
    p = np.asarray(accuracy, dtype=float)
    return np.asarray(p * (1 - p) / np.asarray(images, dtype=float))


def of_seeds(groups: Sequence[ArrayLike]) -> Array | None:
    """Covariance [m, m] of one training's objectives from seed to seed, pooled over settings that were trained several times.

        sum_g sum_s (v_gs - v_g.)(v_gs - v_g.)^T / sum_g (S_g - 1)

    It holds the noise of images too, as far as that differs from seed to seed.

    Args:
        groups: a setting each, [S_g, m] objectives of its seeds.

    Returns:
        None where no setting has two seeds: the spread is not known, which is not zero.
    """
    known = [np.asarray(group, dtype=float) for group in groups if len(np.asarray(group)) > 1]
    if not known:
        return None
    deviations = np.concatenate([group - group.mean(axis=0) for group in known])
    return np.asarray(deviations.T @ deviations / sum(len(group) - 1 for group in known))
