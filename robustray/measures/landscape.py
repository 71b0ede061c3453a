"""The loss around the weights, along lines and in planes (Li et al., NeurIPS 2018; Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray import weight_space
from robustray._later import Tensor, nn
from robustray.data.splits import Indices
from robustray.measures import weights_directions
from robustray.measures.base import Ground, Measure, Piece, Result
from robustray.measures.landscape_result import of_lines, of_plane
from robustray.measures.metrics import Direction
from robustray.measures.robust_loss import Climb, losses_at
from robustray.measures.weights import Batch, Movable, starts
from robustray.registry import Count, Real, register

BATCH = 128
"""Images that go through the model at once."""
Batches = Sequence[tuple[Tensor, Tensor, Indices]]
"""x [B, C, H, W], y [B] and rows [B] in their split."""


@register
class Landscape(Measure):
    """Mean loss along lines w + s nu, s in [-1, 1], or in a plane w + s nu + t mu, around the weights w

        ||nu^(l)||_2 = length * ||w^(l)||_2   for every filter, every layer, or all weights together,

    in `curve.csv` or `grid.csv` (Li et al., NeurIPS 2018, arXiv:1712.09913; Stutz et al., ICCV 2021, arXiv:2104.04448), with
    l2 lengths throughout: the published code divides by largest entries. Robust loss is that of an attack run anew at every
    point, from the same starts; at s = 0 it is `robust_loss`. Normalisation layers stay as they are.

    The value is the mean rise at the ends, (L(-1) + L(1)) / 2 - L(0), over directions; in a plane the mean rise over its edge.
    `curvature` is the second difference at 0 over s^2. A picture of few directions of millions: a flat line does not mean
    that no direction is steep, and lengths of other normalisations do not compare.

    Directions: `random`; `adversarial`, the worst place that an ascent in weights (and images) finds within length, from a
    random start each; `hessian`, the eigenvectors of the largest eigenvalues of the clean loss. A plane has one pair of
    them; of `adversarial` the second is random.

    Passes per image, A those of the attack and 2, 1 of the clean loss: a line points * A, a plane points^2 * A, and for each
    line of a direction 3 steps + 1 (adversarial), or 5 for each product of Lanczos (hessian, at most).
    """

    name: Literal["landscape"] = "landscape"
    better: ClassVar[Direction | None] = None
    fixed_cost: ClassVar[bool] = False
    cheap: ClassVar[Mapping[str, Any]] = {"points": 3, "directions": 2, "steps": 1, "attack": {"steps": 1}}
    of: Literal["robust", "clean"] = Field(
        "robust", description="which loss: under the threat, or of images as they are"
    )
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
    attack: Climb = Field(Climb(steps=10), description="PGD that climbs the loss at every point")
    steps: Count = Field(20, ge=0, le=10_000, description="adversarial: steps in weights and images at once")

    @field_validator("points")
    @classmethod
    def _odd(cls, value: int | None) -> int | None:
        if value is not None and value % 2 == 0:
            raise PydanticCustomError("points", "must be odd, so that the weights themselves are one of them")
        return value

    @property
    def _side(self) -> int:
        """Points on a line, or along a side of a plane."""
        return self.points or (51 if self.dimensions == 1 else 21)

    @property
    def _lines(self) -> int:
        """Lines in all; those of a plane are its rows."""
        return self.directions if self.dimensions == 1 else self._side

    def pieces(self, ground: Ground) -> int:
        return 1 if self.direction == "hessian" else self._lines  # all lines follow from one run of Lanczos

    def piece(self, number: int, ground: Ground) -> Piece:
        at, batches = Movable(ground.model), self._batches(ground)
        lines = range(self._lines) if self.direction == "hessian" else range(number, number + 1)
        ways = self._ways(at, batches, ground, lines if self.dimensions == 1 else range(2))
        places = [float(place) for place in np.linspace(-1, 1, self._side)]
        losses = np.empty((len(lines), self._side))
        for row, line in enumerate(lines):
            for column, s in enumerate(places):
                if self.dimensions == 1:
                    nu = [s * along for along in ways[row]]
                else:
                    nu = [s * along + places[line] * across for along, across in zip(*ways, strict=True)]
                losses[row, column] = self._loss(at.move(nu), batches, ground)
            ground.tell((row + 1) / len(lines))
        return {"losses": losses}

    def _batches(self, ground: Ground) -> Batches:
        """Images, labels and rows."""
        parts = range(ground.shards(BATCH))
        return [(*ground.shard(part, BATCH), ground.rows[part * BATCH : (part + 1) * BATCH]) for part in parts]

    def _ways(self, at: Movable, batches: Batches, ground: Ground, numbers: Sequence[int]) -> list[list[Tensor]]:
        """The directions of these numbers, with their lengths."""
        threat, xi = ground.threat if self.of == "robust" else None, self._length
        if self.direction == "hessian":
            raw = weights_directions.curved(at, [(x, y) for x, y, _ in batches], max(numbers) + 1)
        else:
            raw = [weights_directions.random(at, number) for number in numbers]
        if self.direction == "adversarial":
            for place, number in enumerate(numbers[: 1 if self.dimensions == 2 else None]):
                here = [Batch(x, y, x if threat is None else starts(x, rows, threat, number)) for x, y, rows in batches]
                raw[place] = weights_directions.adversarial(
                    at, here, threat, number, xi=xi, steps=self.steps, step=self.attack.step
                )
        return [[xi * move for move in weight_space.alike(way, at.home, self.normalise)] for way in raw]

    @property
    def _length(self) -> float:
        return self.length or (0.025 if self.direction == "adversarial" else 0.5)

    def _loss(self, model: nn.Module, batches: Batches, ground: Ground) -> float:
        """The mean loss of all images."""
        total = 0.0
        for x, y, rows in batches:
            here = model, x, y
            found = losses_at(*here) if self.of == "clean" else self.attack.losses(*here, rows, ground.threat)[1]
            total += float(found.loss.double().sum())
        return total / len(ground)

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        losses = np.concatenate([piece["losses"] for piece in pieces])
        places = np.linspace(-1, 1, self._side)
        return of_plane(losses, places) if self.dimensions == 2 else of_lines(losses, places)

    def passes(self, ground: Ground) -> float:
        attack = self.attack.passes if self.of == "robust" else 1
        each, weights = self._lines * self._side * attack, weight_space.tensors(ground.model)
        if self.direction == "adversarial":
            each += self._lines * (3 * self.steps + 1)
        elif self.direction == "hessian":
            each += weights_directions.curved_passes(weights, self.directions if self.dimensions == 1 else 2)
        return float(len(ground) * each)
