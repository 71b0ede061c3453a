"""Flatness: how much the loss rises as weights are moved (Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray import weight_space
from robustray._later import Tensor, nn, torch
from robustray.data.splits import Indices
from robustray.measures import intervals, rescaling
from robustray.measures.base import Ground, Measure, Piece, Result
from robustray.measures.metrics import Direction
from robustray.measures.robust_loss import Climb, losses_at
from robustray.measures.weights import Batch, Movable, joint_ascent, starts, worst_move
from robustray.registry import Count, Real, register
from robustray.seeding import derive

BATCH = 128
"""Images in a piece, and those that share a move where each batch has its own, as in the paper."""


@register
class Flatness(Measure):
    """How much the loss rises within ||nu^(l)||_2 <= xi ||w^(l)||_2 of the weights (Stutz et al., ICCV 2021, arXiv:2104.04448)

        average   mean over draws of nu   L(w + nu) - L(w)
        worst     max over nu             L(w + nu) - L(w),   from below,

    L the robust loss, its attack run anew at every w + nu, or the clean loss. Each tensor w^(l) is a layer of its own, a bias
    too; what belongs to normalisation stays. So a rescaling of weights that leaves the function alone leaves this alone.

    The worst nu is looked for by ascent in weights and images at once, from one forward: `steps` steps from each of `draws`
    random starts, of which the point with the highest loss counts; then the loss there is measured as everywhere. w itself is a
    point too: the worst case is never below 0.

    Both terms have the same images, starts, steps and restarts: no move gives 0. (The published code gives the reference ten
    restarts and the moved weights one, which makes flatness too small, at times negative.) Robust flatness follows robust
    loss over models; clean flatness hardly does. Of a worst case, single runs differ much: train several seeds.

    A quadratic loss with Hessian H of one layer of n entries: average over the sphere xi^2 ||w||^2 tr(H) / 2n, over the ball
    the same with n + 2; worst xi^2 ||w||^2 lambda_max(H) / 2 where the gradient is zero.

    Passes per image, A those of the attack and 2, 1 of the clean loss: average (draws + 1) A; worst (draws + 1) A + draws
    (3 steps + 1).
    """

    name: Literal["flatness"] = "flatness"
    better: ClassVar[Direction | None] = "min"
    cheap: ClassVar[Mapping[str, Any]] = {"draws": 2, "steps": 2, "attack": {"steps": 2}}
    case: Literal["average", "worst"] = Field("average", description="the mean over random moves, or the worst move")
    of: Literal["robust", "clean"] = Field(
        "robust", description="which loss: under the threat, or of images as they are"
    )
    xi: Real | None = Field(
        None,
        gt=0,
        le=10,
        description="radius over the length of a layer's weights; null: 0.5 on average, 0.003 in the worst case, as in the "
        "paper's tables (its text says 0.00075)",
    )
    draw: weight_space.Draw = Field(
        "ball",
        description="random moves: uniform in the ball (the paper), on the sphere (its code), or of a length uniform in "
        "[0, xi] (how its worst case starts)",
    )
    moves: Literal["set", "batch"] = Field(
        "set",
        description="a draw moves weights once for all images (the published code), or anew for each batch of 128 (the paper)",
    )
    draws: Count = Field(10, ge=1, le=10_000, description="random moves; in the worst case starts of the ascent")
    attack: Climb = Field(Climb(), description="PGD that climbs the loss at every w + nu")
    steps: Count = Field(20, ge=0, le=10_000, description="worst case: steps in weights and images at once")
    weight_step: Real = Field(
        1 / 3, gt=0, le=10, description="worst case: length of a step in weights as a fraction of xi"
    )
    rescale: Real = Field(
        1,
        gt=0,
        le=1000,
        description="weights in front of batch norm times this, its statistics with them: the same function, which should be "
        "as flat",
    )

    @property
    def radius(self) -> float:
        """xi."""
        return self.xi if self.xi is not None else 0.5 if self.case == "average" else 0.003

    def pieces(self, ground: Ground) -> int:
        shards = ground.shards(BATCH)
        return shards + self.draws * (1 if self._at_once else shards)

    @property
    def _at_once(self) -> bool:
        """Whether a draw is one piece: its ascent needs all images together."""
        return self.case == "worst" and self.moves == "set"

    def piece(self, number: int, ground: Ground) -> Piece:
        shards = ground.shards(BATCH)
        if number >= shards and self._at_once:
            draw, parts = number - shards, range(shards)
        else:
            draw, part = number // shards - 1, number % shards
            parts = range(part, part + 1)
        at = Movable(ground.model)
        if self.rescale != 1:
            rescaling.rescale(at.model, ground.shard(0, 1)[0], self.rescale)
            at.settle()
        if draw >= 0:
            at.move(self._move(at, ground, parts, draw))
        return {"loss": np.concatenate([self._losses(at.model, ground, part) for part in parts])}

    def _move(self, at: Movable, ground: Ground, parts: range, draw: int) -> list[Tensor]:
        """nu of a draw for these batches."""
        path = ("flatness", draw, *(parts if self.moves == "batch" else ()))
        generator = torch.Generator().manual_seed(derive("measure", *path))
        nu = weight_space.drawn(at.home, self.radius, self.draw, generator)
        if self.case == "average":
            return nu
        threat = ground.threat if self.of == "robust" else None
        batches = []
        for part in parts:
            x, y = ground.shard(part, BATCH)
            batches.append(Batch(x, y, x if threat is None else starts(x, _rows(ground, part), threat, draw)))
        points = joint_ascent(
            at, batches, threat, nu, xi=self.radius, steps=self.steps,
            weight_step=self.weight_step * self.radius, step=self.attack.step,
        )  # fmt: skip
        return worst_move(points)

    def _losses(self, model: nn.Module, ground: Ground, part: int) -> NDArray[np.float64]:
        """Of each image of a batch, [n]."""
        x, y = ground.shard(part, BATCH)
        if self.of == "clean":
            found = losses_at(model, x, y)
        else:
            _, found = self.attack.losses(model, x, y, _rows(ground, part), ground.threat)
        return np.asarray(found.loss.cpu().numpy(), np.float64)

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        losses = np.concatenate([piece["loss"] for piece in pieces]).reshape(1 + self.draws, len(ground))
        at, moved = losses[0], losses[1:]
        rises = moved.mean(1) - at.mean()
        if self.case == "average":
            there, (low, high) = moved.mean(0), intervals.mean(rises)
        else:
            there, (low, high) = self._worst(losses), (None, None)
        values = {"loss": float(at.mean()), "moved_loss": float(there.mean())}
        if self.draws > 1:
            values["spread"] = float(rises.std(ddof=1))
        table = [{"draw": draw, "flatness": float(rise)} for draw, rise in enumerate(rises)]
        return Result(
            float(rises.mean() if self.case == "average" else there.mean() - at.mean()), low, high,
            "draws, Student's t" if low is not None else "", values,
            {"loss": at, "moved_loss": there}, {"draws": table},
        )  # fmt: skip

    def _worst(self, losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N]: the losses at the draw with the highest mean, of all images or of each batch; w itself is in the ball too."""
        size = losses.shape[1] if self.moves == "set" else BATCH
        parts = [losses[:, begin : begin + size] for begin in range(0, losses.shape[1], size)]
        return np.concatenate([part[part.mean(1).argmax()] for part in parts])

    def passes(self, ground: Ground) -> float:
        attack = self.attack.passes if self.of == "robust" else 1
        found = len(ground) * (self.draws + 1) * attack
        if self.case == "worst":
            found += len(ground) * self.draws * (3 * self.steps + 1)
        return float(found + (self.rescale != 1) * rescaling.PASSES * self.pieces(ground))


def _rows(ground: Ground, part: int) -> Indices:
    return ground.rows[part * BATCH : (part + 1) * BATCH]
