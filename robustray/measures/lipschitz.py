"""Local Lipschitzness: how fast a network's answer can change inside the threat (Yang et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import F, Tensor, torch
from robustray.attacks.norms import Norm, length, per_image
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result, per_row
from robustray.measures.metrics import Direction
from robustray.registry import Count, Real, register

SMALLEST = 1 / 64
"""Of the way to x', the smallest share that is tried: nearer to x rounding would count as change."""
SLACK = 0.01
"""By how much the ratio's slope must be negative before x' comes nearer: where a network is linear, it is rounding."""


@register
class Lipschitz(PerImage):
    """Mean over images of the steepest slope in the threat, from below (Yang et al., NeurIPS 2020, arXiv:2003.02460, sec. 4):

        max over x' in the threat of   || g(x) - g(x') ||_1 / || x - x' ||_p,     p the norm of the threat,

    g the logits, their softmax, or the logits over the mean gap between the two largest: logits grow with a network's scale,
    the other two do not. For one affine output in linf the maximum is ||w||_1, wherever the box leaves room.

    x' = x + t d. Steepest ascent moves d inside the threat, from a random start, in steps in proportion to eps; t in
    [1/64, 1] is doubled or halved by the sign of the ratio's slope along d. What counts is the highest ratio that any step of
    any restart reached. In linf and l1 d climbs the numerator, in l2 the ratio. The ratio's gradient, published for linf,
    pulls pixels inwards that are nearest to eps, because torch's gradient of a maximum belongs to them alone. On four networks
    for digits as many passes found 1 to 10 % less with it in linf, 4 to 13 % less in l1, and where the steepest place is near
    x, and t stays 1, down to a ninth of it. In l2 on logits all ways are within 7 %; on probabilities at a large eps ascent
    with t = 1 found up to a third more. Ten restarts find 11 to 17 % more of logits, and 13 to 75 % more of probabilities,
    which are flat almost everywhere. The published code besides descends, by a wrong sign, with a step of 0.003 whatever eps
    is.

    Columns are those of logits or probabilities as they are, and the gap of the two largest.

    Passes per image: 1 + restarts * (2 steps + 1).
    """

    name: Literal["lipschitz"] = "lipschitz"
    better: ClassVar[Direction | None] = "min"
    output: Literal["logits", "softmax", "normalised"] = Field(
        "logits", description="what changes: logits, probabilities, or logits over the mean gap of the two largest"
    )
    output_norm: Literal["l1", "l2"] = Field("l1", description="norm in which the output's change is measured")
    steps: Count = Field(10, ge=0, le=10_000, description="steps of ascent")
    step: Real = Field(0.2, gt=0, le=2, description="length of a step as a fraction of eps")
    restarts: Count = Field(1, ge=1, le=1000, description="random starts, of which an image keeps the highest ratio")

    def check(self, ground: Ground) -> None:
        if ground.threat.eps == 0:
            raise UserError("lipschitz: eps is 0, and nothing can change where nothing may be moved; say --eps 8/255")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        with torch.no_grad():
            at = self._output(ground, x)
        best = torch.zeros(len(x), device=x.device)
        threat, norm = ground.threat, ground.threat.norm
        for restart in range(self.restarts):
            noise = per_row(x, rows, "lipschitz", restart, kind="normal")
            way = threat.project(x + 0.1 * threat.eps * _unit(noise, norm), x, "nearest") - x
            share = torch.ones_like(best)
            for step in range(self.steps + 1):
                last = step == self.steps
                x_adv = (x + per_image(share, x) * way).detach().requires_grad_(not last)
                with torch.set_grad_enabled(not last):
                    change = length(self._output(ground, x_adv) - at, self.output_norm)
                delta, far = x_adv.detach() - x, change.detach()
                ratio = _ratio(far, length(delta, norm))
                best = torch.maximum(best, ratio)
                if not last:
                    (gradient,) = torch.autograd.grad(change.sum(), x_adv)
                    farther = (gradient * delta).flatten(1).sum(1) > (1 - SLACK) * far
                    if norm == "l2":
                        gradient = gradient - per_image(_ratio(ratio, length(delta, norm)), x) * delta
                    share = (share * torch.where(farther, 2, 0.5)).clamp(SMALLEST, 1)
                    moved = threat.ascend(x + way, gradient, self.step * threat.eps)
                    way = threat.project(moved, x, "nearest") - x
            ground.tell((restart + 1) / self.restarts)
        top = at.topk(min(2, at.shape[1]), 1).values
        return {"lipschitz": best, "gap": top[:, 0] - top[:, -1]}

    def _output(self, ground: Ground, x: Tensor) -> Tensor:
        logits: Tensor = ground.model(x).float()
        return F.softmax(logits, 1) if self.output == "softmax" else logits

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        found = np.asarray(columns["lipschitz"], np.float64)
        scale, notes = 1.0, tuple[str, ...]()
        if self.output == "normalised":
            scale = float(np.mean(columns["gap"], dtype=np.float64))
            if scale == 0:
                scale, notes = 1.0, ("the two largest logits are equal on every image: not normalised",)
        each = found / scale
        low, high = intervals.mean(each)
        values = {"median": float(np.median(each)), "largest": float(each.max())}
        return Result(float(each.mean()), low, high, "images, Student's t", values, dict(columns), notes=notes)

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * (1 + self.restarts * (2 * self.steps + 1)))


def _unit(noise: Tensor, norm: Norm) -> Tensor:
    return noise / per_image(length(noise, norm), noise).clamp_min(torch.finfo(noise.dtype).tiny)


def _ratio(change: Tensor, way: Tensor) -> Tensor:
    """[B]; 0 where x' is x: eps of 0, or no way to go."""
    return torch.where(way > 0, change / way.clamp_min(torch.finfo(way.dtype).tiny), 0)
