"""Sharpness-aware minimisation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray import weight_space
from robustray._later import nn, torch
from robustray.defenses.step import Loss
from robustray.registry import Real, register
from robustray.training.updates import BoundUpdate, Minibatch, Stateless, Update


@register
class Sam(Update):
    """Sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv:2010.01412).

    The gradient is taken at w + rho * g / ||g||, g = grad loss(x'; w) with the norm over all parameters together, and is
    descended from w. x' is made once, at w. As in `awp`, the first pass leaves no trace in buffers and generators.

    Passes per image: those of x', and twice those of the loss.
    """

    name: Literal["sam"] = "sam"
    rho: Real = Field(0.05, ge=0, description="length of the step up, over all parameters together")

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundSam(self, model)


class _BoundSam(Stateless):
    def __init__(self, rule: Sam, model: nn.Module) -> None:
        self.rule = rule
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]

    def __call__(self, batch: Minibatch) -> Loss:
        x_adv = batch.attack()
        with batch.rolled_back():
            batch.gradient(x_adv)
        with weight_space.kept(self.weights), torch.no_grad():
            found = [weight for weight in self.weights if weight.grad is not None]
            up = weight_space.unit(torch.cat([weight.grad.flatten() for weight in found if weight.grad is not None]))
            for weight, step in zip(found, torch.split(up, [weight.numel() for weight in found]), strict=True):
                weight.add_(step.view_as(weight), alpha=self.rule.rho)
            with torch.enable_grad():
                return batch.gradient(x_adv)
