"""The loss around the weights, along lines and in planes (Li et al., NeurIPS 2018; Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from robustray import weight_space
from robustray._later import Tensor, torch
from robustray.data.splits import Indices
from robustray.measures import intervals
from robustray.measures.base import Ground, Measure, Piece, Result
from robustray.measures.hessian_products import PASSES, Hessian, extremes, most_products
from robustray.measures.metrics import Direction
from robustray.measures.robust_loss import Ascent, clean, starts
from robustray.measures.weights import Batch, Movable, joint_ascent, worst_move
from robustray.registry import Count, Real, register
from robustray.seeding import derive

BATCH = 128
"""Images that go through the model at once."""
_RESTARTS = 50  # of Lanczos
_ACROSS = {"random": 0.5, "adversarial": 0.025, "hessian": 0.5}


@register
class Landscape(Measure):
    """The mean loss at w + s nu for s in [-1, 1], or at w + s nu + t mu in a plane (Li et al., NeurIPS 2018, arXiv:1712.09913;
    Stutz et al., ICCV 2021, arXiv:2104.04448), in `curve.csv` or `grid.csv`

        ||nu^(l)||_2 = length * ||w^(l)||_2   for every filter, every layer, or all weights together,

    l2 lengths throughout: the published code divides by largest entries. Robust loss is that of an attack run anew at every
    point, from the same starts; at s = 0 it is `robust_loss`. Normalisation layers stay as they are.

    The value is the mean rise at the ends, (L(-1) + L(1)) / 2 - L(0), over directions; in a plane the mean rise over its edge.
    `curvature` is the second difference at 0 over s^2. A picture of few directions of millions: a flat line does not mean
    that no direction is steep, and lengths of other normalisations do not compare.

    Directions: `random`; `adversarial`, where an ascent in weights (and images) inside ||nu^(l)|| <= length ||w^(l)|| ends, from
    one random start each; `hessian`, the eigenvectors of the largest eigenvalues of the clean loss. A plane has one pair of
    them; of `adversarial` the second is random.

    Passes per image, A those of the attack, 1 of the clean loss: a line points * A, a plane points^2 * A, and for each line of
    a direction 3 steps + 1 (adversarial), or 5 for each product of Lanczos (hessian, at most).
    """

    name: Literal["landscape"] = "landscape"
    better: ClassVar[Direction | None] = None
    fixed_cost: ClassVar[bool] = False
    cheap: ClassVar[Mapping[str, Any]] = {"points": 3, "directions": 2, "ascent": {"steps": 1}}
    of: Literal["robust", "clean"] = Field("robust", description="which loss: under the threat, or of images as they are")
    dimensions: Literal[1, 2] = Field(1, description="along lines, or in a plane of two directions")
    direction: Literal["random", "adversarial", "hessian"] = Field("random", description="where to look")
    normalise: weight_space.Alike = Field(
        "layer", description="what of a direction has the length: each filter, each layer, or none: all of it together"
    )
    length: Real | None = Field(
        None,
        gt=0,
        le=100,
        description="of a direction over that of the weights; null: 0.5, of an adversarial one 0.025",
    )
    points: Count | None = Field(
        None, ge=3, le=1001, description="odd, even steps from -1 to 1; null: 51 on a line, 21 along a side of a plane"
    )
    directions: Count = Field(10, ge=1, le=1000, description="lines, of which curve.csv has mean, least and most")
    ascent: Ascent = Field(Ascent(steps=10), description="the attack that climbs the loss at every point")

    @field_validator("points")
    @classmethod
    def _odd(cls, value: int | None) -> int | None:
        if value is not None and value % 2 == 0:
            raise ValueError("must be odd: 0 is one of the points")
        return value
