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
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result, per_row
from robustray.measures.metrics import Direction
from robustray.registry import Count, Real, register


@register
class Lipschitz(PerImage):
    """Mean over images of an estimate from below of (Yang et al., NeurIPS 2020, arXiv:2003.02460, section 4)

        max over x' in the threat of   || g(x) - g(x') ||_1 / || x - x' ||_p,     p the norm of the threat,

    g the logits, or their softmax: logits grow with a network's scale, probabilities do not. Projected steepest ascent on the
    ratio itself from a random start, steps in proportion to eps; what counts is the highest ratio that any step of any
    restart reached. The published code descends, by a wrong sign, with a step of 0.003 whatever eps is, and its values are too
    small. For one affine output in linf the maximum is ||w||_1, wherever the box leaves room.

    Passes per image: 1 + restarts * (2 steps + 1).
    """

    name: Literal["lipschitz"] = "lipschitz"
    better: ClassVar[Direction | None] = "min"
    output: Literal["logits", "softmax"] = Field("logits", description="what changes: logits, or probabilities")
    steps: Count = Field(10, ge=0, le=10_000, description="steps of ascent on the ratio")
    step: Real = Field(0.2, gt=0, le=2, description="length of a step as a fraction of eps")
    restarts: Count = Field(1, ge=1, le=1000, description="random starts, of which an image keeps the highest ratio")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        with torch.no_grad():
            at = self._output(ground, x)
        best = torch.zeros(len(x), device=x.device)
        threat, norm = ground.threat, ground.threat.norm
        for restart in range(self.restarts):
            noise = per_row(x, rows, "lipschitz", restart, kind="normal")
            x_adv = threat.project(x + 0.1 * threat.eps * _unit(noise, norm), x, "nearest")
            for step in range(self.steps + 1):
                last = step == self.steps
                x_adv = x_adv.detach().requires_grad_(not last)
                with torch.set_grad_enabled(not last):
                    ratio = _ratio(at, self._output(ground, x_adv), x, x_adv, norm)
                best = torch.maximum(best, ratio.detach())
                if not last:
                    (gradient,) = torch.autograd.grad(ratio.sum(), x_adv)
                    moved = threat.ascend(x_adv.detach(), gradient, self.step * threat.eps, rule=None, density=0.01)
                    x_adv = threat.project(moved, x, "nearest")
            ground.tell((restart + 1) / self.restarts)
        return {"lipschitz": best}

    def _output(self, ground: Ground, x: Tensor) -> Tensor:
        logits: Tensor = ground.model(x).float()
        return F.softmax(logits, 1) if self.output == "softmax" else logits

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        found = np.asarray(columns["lipschitz"], np.float64)
        low, high = intervals.mean(found)
        values = {"median": float(np.median(found)), "largest": float(found.max())}
        return Result(float(found.mean()), low, high, "images, Student's t", values, {"lipschitz": found})

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * (1 + self.restarts * (2 * self.steps + 1)))


def _unit(noise: Tensor, norm: Norm) -> Tensor:
    return noise / per_image(length(noise, norm), noise).clamp_min(torch.finfo(noise.dtype).tiny)


def _ratio(at: Tensor, there: Tensor, x: Tensor, x_adv: Tensor, norm: Norm) -> Tensor:
    """[B]; 0 where x' is x: eps of 0, or no way to go."""
    way = length(x_adv - x, norm)
    ratio: Tensor = (there - at).abs().sum(1) / way.clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(way > 0, ratio, torch.zeros_like(ratio))
