"""Adversarial training for free."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, nn
from robustray.defenses.step import Loss
from robustray.registry import Count, Real, register
from robustray.training.updates import BoundUpdate, Minibatch, Update


@register
class Free(Update):
    """Adversarial training for free (Shafahi et al., NeurIPS 2019, arXiv:1904.12843).

    Every batch is used `replays` times. Each time one backward pass gives the gradient g_w of the loss at x + delta to the
    weights, which the optimiser descends, and the gradient g_x to the images, which delta climbs:

        delta <- Proj(delta + step(g_x)),   steepest ascent in the threat's norm by step_size * eps, onto ball and box.

    delta is carried from batch to batch. The defense's own attack is not run: the whole of its loss is climbed, in
    training mode. delta starts at random inside the ball, and not at 0 as in the paper, since losses that compare f(x)
    with f(x') have no slope there. An epoch is a pass over the images, in `replays` optimiser steps per batch: the
    paper divides the number of epochs by them, and so should whoever compares costs.

    Passes per image: replays times those of the loss.
    """

    name: Literal["free"] = "free"
    replays: Count = Field(8, ge=1, le=1000, description="how often a batch is used: optimiser steps per batch")
    step_size: Real = Field(1.0, gt=0, le=10, description="length of delta's step, relative to eps")

    own_attack: ClassVar[bool] = True

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundFree(self)

    @property
    def descents(self) -> int:
        return self.replays


class _BoundFree:
    def __init__(self, rule: Free) -> None:
        self.rule = rule
        self.delta: Tensor | None = None

    def __call__(self, batch: Minibatch) -> Loss:
        x, threat = batch.x, batch.threat
        start = threat.uniform(x, batch.generator) if self.delta is None else x + self.delta.to(x)
        x_adv = threat.project(start, x)
        for replay in range(self.rule.replays):
            if replay:
                batch.descend()
            x_adv = x_adv.detach().requires_grad_()
            loss = batch.gradient(x_adv)
            if x_adv.grad is not None:  # else the loss does not depend on x'
                moved = threat.ascend(x_adv.detach(), x_adv.grad, self.rule.step_size * threat.eps)
                x_adv = threat.project(moved, x)
        self.delta = (x_adv - x).detach()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"delta": self.delta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.delta = state["delta"]
