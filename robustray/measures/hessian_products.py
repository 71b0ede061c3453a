"""Products of a loss's Hessian with vectors, and its extreme eigenvalues by Lanczos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, nn, torch
from robustray.attacks.losses import cross_entropy
from robustray.errors import NotFinite
from robustray.seeding import derive

PASSES = 5
"""Of each image in one product: a forward, the gradient to the weights, and that one's."""
Vector = NDArray[np.float64]
End = Literal["LA", "SA"]
"""Of the spectrum: the largest eigenvalues, or the smallest."""


class Hessian:
    """The Hessian of the mean cross-entropy of images in some parameters; the mean is over images, whatever the batches.

    Args:
        model: in eval mode. parameters: P entries in all. batches: (x [B, C, H, W], y [B]) in turn, anew at each call.
        images: how many there are in all batches.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Sequence[nn.Parameter],
        batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
        images: int,
    ) -> None:
        self.model, self.parameters, self.batches, self.images = model, list(parameters), batches, images
        self.size = sum(parameter.numel() for parameter in self.parameters)

    def product(self, vector: Vector) -> Vector:
        """H v, [P] of v [P]: sums over batches in float64. Raises NotFinite: no routine for eigenvalues takes what is not."""
        along = self.split(vector)
        total = [torch.zeros_like(each, dtype=torch.float64) for each in along]
        wanted = [parameter.requires_grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.requires_grad_()
        try:
            for x, y in self.batches():
                with torch.enable_grad():
                    loss = cross_entropy(self.model(x), y, "none").sum()
                    first = torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True)
                    slope = torch.stack([(g * v).sum() for g, v in zip(first, along, strict=True)]).sum()
                    second = torch.autograd.grad(slope, self.parameters, materialize_grads=True)
                total = [a + b.double() for a, b in zip(total, second, strict=True)]
        finally:
            for parameter, before in zip(self.parameters, wanted, strict=True):
                parameter.requires_grad_(before)
        found: Vector = torch.cat([each.flatten() for each in total]).cpu().numpy() / self.images
        if not np.isfinite(found).all():
            raise NotFinite("hessian: the loss or its second derivatives are not finite")
        return found

    def split(self, vector: Vector) -> list[Tensor]:
        """A vector [P] as tensors like the parameters."""
        parts, at = [], 0
        for parameter in self.parameters:
            part = np.ascontiguousarray(vector[at : at + parameter.numel()]).reshape(tuple(parameter.shape))
            parts.append(torch.from_numpy(part).to(parameter))
            at += parameter.numel()
        return parts


def most_products(k: int, restarts: int, size: int) -> int:
    """How many products `extremes` takes at most."""
    width = _width(k, size)
    return size if width == size else width + restarts * (width - k) + 1


def extremes(
    hessian: Hessian, k: int, end: End, restarts: int, tolerance: float = 1e-3
) -> tuple[Vector, NDArray[np.float64]]:
    """The k largest (`LA`) or smallest (`SA`) eigenvalues, outermost first, and their vectors [P, k].

    Implicitly restarted Lanczos (ARPACK; Lehoucq et al., 1998) to a relative tolerance, from a start that is always the same;
    every eigenvalue exactly where there are too few parameters for it, and 0 where the Hessian is. What did not converge within
    `restarts` restarts is NaN.
    """
    size = hessian.size
    k, width = min(k, size), _width(k, size)
    if width == size:
        columns = [hessian.product(unit) for unit in np.eye(size)]
        whole = np.stack(columns)
        values, vectors = np.linalg.eigh((whole + whole.T) / 2)
    else:
        from scipy.sparse.linalg import (  # options and help do not wait for it
            ArpackError,
            ArpackNoConvergence,
            LinearOperator,
            eigsh,
        )

        start = np.random.default_rng(derive("measure", "hessian")).standard_normal(size)
        operator = LinearOperator((size, size), matvec=hessian.product, dtype=np.float64)
        try:
            values, vectors = eigsh(operator, k, which=end, v0=start, ncv=width, maxiter=restarts, tol=tolerance)
        except ArpackNoConvergence:
            return np.full(k, np.nan), np.full((size, k), np.nan)
        except ArpackError:  # it begins in the range of H, and a model that answers the same to all images has none
            if hessian.product(start).any():
                raise
            return np.zeros(k), np.eye(size, k)
    order = np.argsort(values)[::-1] if end == "LA" else np.argsort(values)
    return values[order[:k]], vectors[:, order[:k]]


def _width(k: int, size: int) -> int:
    """Lanczos vectors that are kept."""
    return min(size, max(2 * k + 1, 20))
