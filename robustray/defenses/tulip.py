"""Input-gradient regularisation by finite differences."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks import norms
from robustray.defenses.base import Defense, Demand
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Tulip(Defense):
    """TULIP, gradient regularisation (Finlay and Oberman, 2019, arXiv:1905.11468).

    loss = mean of l(x) + lam / 2 * ((l(x + h v) - l(x)) / h)^2,   l(x) = CE(f(x), y),   v = grad l / ||grad l||_2,

    where grad l = 0 with v = 0. The penalty tends to lam / 2 * ||grad l||_2^2 as h falls. v is a constant; gradients flow
    through both losses, which see the same dropout masks. x + h v is not clamped; there is no attack and no eps.
    Yang et al. (NeurIPS 2020, arXiv:2003.02460) take the sum over a batch, and their script descends the natural term
    twice: its lam is twice ours at twice the learning rate. Passes per image: 7.
    """

    name: Literal["tulip"] = "tulip"
    lam: Real = Field(1.0, ge=0, description="weight of the squared slope of the loss")
    h: Real = Field(1.0, gt=0, description="length of the finite difference, pixels of [0, 1] in l2")

    demands: ClassVar[frozenset[Demand]] = frozenset({"two_backwards", "float32"})

    def perturb(self, step: Step) -> Tensor:
        return step.x

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        x = x_adv if x_adv.requires_grad else x_adv.detach().requires_grad_()

        def losses(logits: Tensor) -> Tensor:
            return step.cross_entropy(logits, "none")

        def ahead(logits: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(losses(logits).sum(), x, retain_graph=True)
            return x + norms.step(gradient, x, self.h, "l2", 1)

        here, there = (losses(logits) for logits in step.pair(x, ahead))
        slope = (there - here) / self.h
        return Loss(clean=here.mean(), slope=self.lam / 2 * slope.square().mean())
