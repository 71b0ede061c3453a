"""Directions in weight space in which to look at a loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from robustray import weight_space
from robustray._later import Tensor, torch
from robustray.attacks.threats import Threat
from robustray.errors import UserError
from robustray.measures.hessian_products import PASSES, Hessian, extremes, most_products
from robustray.measures.weights import Batch, Movable, joint_ascent, worst_move
from robustray.seeding import derive

_RESTARTS = 50  # of Lanczos


def random(at: Movable, number: int) -> list[Tensor]:
    """Standard normal numbers, the same on every device: a uniform direction."""
    generator = torch.Generator().manual_seed(derive("measure", "direction", number))
    return [torch.randn(weight.shape, generator=generator, dtype=weight.dtype).to(weight.device) for weight in at.home]


def adversarial(
    at: Movable,
    batches: Sequence[Batch],
    threat: Threat | None,
    number: int,
    *,
    xi: float,
    steps: int,
    step: float,
) -> list[Tensor]:
    """Where a joint ascent inside ||nu^(l)|| <= xi ||w^(l)|| has found the highest loss, from the random start of a number.

    Passes per image: 3 steps + 1.

    Args:
        batches: where images begin; left where they end.
    """
    generator = torch.Generator().manual_seed(derive("measure", "direction", number))
    nu = weight_space.drawn(at.home, xi, "radius", generator)
    return worst_move(joint_ascent(at, batches, threat, nu, xi=xi, steps=steps, weight_step=xi / 3, step=step))


def curved(at: Movable, pairs: Sequence[tuple[Tensor, Tensor]], k: int) -> list[list[Tensor]]:
    """Eigenvectors of the k largest eigenvalues of the Hessian of the clean loss in the weights that are moved.

    Passes per image at most: `curved_passes`.

    Args:
        pairs: images [B, C, H, W] and labels [B].

    Raises:
        UserError: Lanczos did not converge.
    """
    hessian = Hessian(at.model, at.weights, lambda: pairs, sum(len(x) for x, _ in pairs))
    vectors = extremes(hessian, k, "LA", _RESTARTS)[1]
    if not np.isfinite(vectors).all():
        raise UserError(f"direction: hessian: Lanczos did not converge within {_RESTARTS} restarts; take another one")
    if vectors.shape[1] < k:
        raise UserError(f"direction: hessian: {hessian.size} weights have no {k} directions")
    return [hessian.split(vector) for vector in vectors.T]


def curved_passes(at: Sequence[Tensor], k: int) -> int:
    """The most passes per image that `curved` takes for weights like these."""
    return PASSES * most_products(k, _RESTARTS, sum(weight.numel() for weight in at))
