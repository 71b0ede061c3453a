"""Adversarial weight perturbation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray import weight_space
from robustray._later import nn, torch
from robustray.defenses.step import Loss
from robustray.registry import Count, Real, register
from robustray.training.updates import BoundUpdate, Minibatch, Stateless, Update


@register
class Awp(Update):
    """Adversarial weight perturbation (Wu, Xia and Wang, NeurIPS 2020, arXiv:2004.05884).

    The gradient is taken at w + nu, where nu makes the loss at x' larger, and is descended from w:

        nu_l <- Proj(nu_l + step_size * xi * ||w_l|| * g_l / ||g_l||),   g = grad loss(x'; w + nu),   `steps` times,

    with Proj into ||nu_l|| <= xi * ||w_l||, layer by layer: each weight with more than one dimension is a layer, biases
    and normalisation layers are left alone. One step of size 1 gives ||nu_l|| = xi * ||w_l||. x' is made once, at w.

    The climb leaves no trace: its passes move no buffer, and the gradient that is descended sees the same dropout masks.
    Buffers move in the pass at w + nu, as in the authors' code. Weight decay acts at w, where the paper has it; that code
    steps from w + nu and subtracts nu after, so its decay also shrinks nu.

    Passes per image: those of x', and steps + 1 times those of the loss.
    """

    name: Literal["awp"] = "awp"
    xi: Real = Field(0.005, ge=0, description="radius of the perturbation of a layer, relative to the layer's norm")
    steps: Count = Field(1, ge=1, le=1000, description="ascent steps in weight space")
    step_size: Real = Field(1.0, gt=0, le=10, description="length of an ascent step, relative to the radius")

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundAwp(self, model)


class _BoundAwp(Stateless):
    def __init__(self, rule: Awp, model: nn.Module) -> None:
        self.rule = rule
        self.layers = weight_space.layers(model)

    def __call__(self, batch: Minibatch) -> Loss:
        x_adv = batch.attack()
        with weight_space.kept(self.layers) as home:
            for _ in range(self.rule.steps):
                with batch.rolled_back():
                    batch.gradient(x_adv)
                with torch.no_grad():
                    for weight, start in zip(self.layers, home, strict=True):
                        if weight.grad is None:
                            continue
                        radius = self.rule.xi * torch.linalg.vector_norm(start)
                        moved = weight + self.rule.step_size * radius * weight_space.unit(weight.grad) - start
                        length = torch.linalg.vector_norm(moved)
                        weight.copy_(start + torch.where(length > radius, radius / length, 1) * moved)
            return batch.gradient(x_adv)
