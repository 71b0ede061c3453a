"""Curvature in weights: the largest and smallest eigenvalues of the loss's Hessian (Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from robustray._later import nn
from robustray.errors import UserError
from robustray.measures import rescaling
from robustray.measures.base import Ground, Measure, Piece, Result
from robustray.measures.hessian_products import PASSES, End, Hessian, extremes, most_products
from robustray.measures.metrics import Direction
from robustray.measures.weights import copied
from robustray.registry import Count, Real, register

_ENDS: tuple[End, ...] = ("LA", "SA")


@register
class HessianExtremes(Measure):
    """The largest and the smallest eigenvalues of the Hessian of the clean mean cross-entropy in the weights

        H = (1 / N) sum over i of   d^2 CE(f(x_i; w), y_i) / dw^2,     convexity = |lambda_min| / |lambda_max|

    (Stutz et al., ICCV 2021, arXiv:2104.04448; Li et al., NeurIPS 2018, arXiv:1712.09913), by scipy's Lanczos over
    products of H with vectors. The value is lambda_max. The mean is over images: the published code adds up the
    batches' means, and its eigenvalues grow with the number of batches, four of them in the paper's tables.

    Weights multiplied by s in front of batch norm give lambda_max / s^2 for the same function: it does not compare networks
    of other scale, and does not follow robustness. ReLU networks have second derivatives almost everywhere, those between
    pieces not counted.

    Passes per image at most: 5 for each product, of which `largest` and `smallest` end once they have converged.
    """

    name: Literal["hessian"] = "hessian"
    better: ClassVar[Direction | None] = None
    fixed_cost: ClassVar[bool] = False
    cheap: ClassVar[Mapping[str, Any]] = {"k": 1, "tolerance": 0.1}
    k: Count = Field(2, ge=1, le=50, description="eigenvalues at each end")
    of: Literal["matrices", "all"] = Field(
        "matrices", description="second derivatives in parameters with more than one dimension, or in every parameter"
    )
    tolerance: Real = Field(1e-3, ge=1e-6, le=0.5, description="of eigenvalues, relative")
    restarts: Count = Field(
        50, ge=1, le=10_000, description="restarts of Lanczos at most; without convergence values are not finite"
    )
    rescale: Real = Field(
        1,
        gt=0,
        le=1000,
        description="weights in front of batch norm times this, its statistics with them: the same function, other curvature",
    )

    def pieces(self, ground: Ground) -> int:
        return len(_ENDS)

    def piece(self, number: int, ground: Ground) -> Piece:
        model = copied(ground.model)
        if self.rescale != 1:
            rescaling.rescale(model, ground.shard(0, 1)[0], self.rescale)
        parameters = self._parameters(model)
        if not parameters:
            raise UserError(f"hessian: this model has no parameters for of: {self.of}")
        hessian = Hessian(model, parameters, lambda: map(ground.shard, range(ground.shards())), len(ground))
        values, _ = extremes(hessian, self.k, _ENDS[number], self.restarts, self.tolerance)
        return {"values": values}

    def _parameters(self, model: nn.Module) -> list[nn.Parameter]:
        return [each for each in model.parameters() if self.of == "all" or each.ndim > 1]

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        largest, smallest = (np.asarray(piece["values"], np.float64) for piece in pieces)
        top, bottom = float(largest[0]), float(smallest[0])
        values = {"smallest": bottom, "convexity": abs(bottom) / abs(top) if top else float("nan")}
        table = [
            {"end": end, "rank": rank + 1, "eigenvalue": float(value)}
            for end, found in (("largest", largest), ("smallest", smallest))
            for rank, value in enumerate(found)
        ]
        notes = []
        if not np.isfinite([top, bottom]).all():
            notes.append(f"Lanczos did not converge within restarts: {self.restarts}; give it more, or k: {self.k + 1}")
        return Result(top, values=values, tables={"eigenvalues": table}, notes=tuple(notes))

    def passes(self, ground: Ground) -> float:
        size = sum(parameter.numel() for parameter in self._parameters(ground.model))
        products = len(_ENDS) * most_products(self.k, self.restarts, size)
        return float(products * PASSES * len(ground) + (self.rescale != 1) * rescaling.PASSES * len(_ENDS))
