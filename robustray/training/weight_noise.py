"""Random weight noise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray import weight_space
from robustray._later import nn, torch
from robustray.defenses.step import Loss
from robustray.registry import Real, register
from robustray.training.updates import BoundUpdate, Minibatch, Stateless, Update


@register
class WeightNoise(Update):
    """Random weight perturbations in place of adversarial ones (Stutz et al., ICCV 2021, arXiv:2104.04448).

    The gradient is taken at w + nu and is descended from w; nu_l = xi * ||w_l|| * n_l / ||n_l||, n standard normal, for
    the layers that `awp` perturbs: uniform on the sphere. x' is made at w. Passes per image: those of x' and of the loss.
    """

    name: Literal["weight_noise"] = "weight_noise"
    xi: Real = Field(0.05, ge=0, description="length of the perturbation of a layer, relative to the layer's norm")

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundNoise(self, model)


class _BoundNoise(Stateless):
    def __init__(self, rule: WeightNoise, model: nn.Module) -> None:
        self.rule = rule
        self.layers = weight_space.layers(model)

    def __call__(self, batch: Minibatch) -> Loss:
        x_adv = batch.attack()
        with weight_space.kept(self.layers):
            with torch.no_grad():
                for w in self.layers:
                    noise = torch.randn(w.shape, generator=batch.generator, device=w.device, dtype=w.dtype)
                    w.add_(self.rule.xi * torch.linalg.vector_norm(w) * weight_space.unit(noise))
            return batch.gradient(x_adv)
