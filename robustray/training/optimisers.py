"""Optimisers."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from robustray.registry import Part, Real, register

if TYPE_CHECKING:
    import torch
    from torch import nn


class Optimiser(Part):
    """What turns gradients into steps. Its learning rate comes from the schedule, every step."""

    kind: ClassVar[str] = "optimiser"
    default: ClassVar[str | None] = "sgd"

    @abstractmethod
    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The torch optimiser over a model's parameters."""


@register
class Sgd(Optimiser):
    """Stochastic gradient descent with momentum and L2 weight decay, as in torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    momentum: Real = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")
    weight_decay: Real = Field(5e-4, ge=0, description="L2 penalty on all parameters")

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(
            model.parameters(),
            lr=0.0,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay,
            foreach=True,
        )
