"""Optimisers."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field

from robustray import weight_space
from robustray._later import nn, torch
from robustray.registry import Part, Real, register


class Optimiser(Part):
    """What turns gradients into steps. Its learning rate comes from the schedule, every step."""

    kind: ClassVar[str] = "optimiser"
    default: ClassVar[str | None] = "sgd"
    weight_decay: Real = Field(5e-4, ge=0, description="weight decay; `decays` says of what")
    decays: Literal["all", "weights"] = Field(
        "all", description="what decays: all parameters, or weights alone, not biases and normalisation layers"
    )
    clip: Real | None = Field(
        None, gt=0, description="parameters are clamped to [-clip, clip] after every step, scales of norms to 1 +- clip"
    )
    max_norm: Real | None = Field(
        None, gt=0, description="largest l2 norm of the gradient of all parameters together; null: whatever it is"
    )

    @abstractmethod
    def over(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The torch optimiser over groups of parameters, each with its weight decay."""

    @property
    @abstractmethod
    def base_momentum(self) -> float:
        """The momentum that a schedule may move."""

    @abstractmethod
    def set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        """Gives a group another momentum."""

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The torch optimiser over a model's parameters; with `clip` they are clamped at once, and after every step.

        With `max_norm` the gradient g is scaled by min(1, max_norm / (||g|| + 1e-6)) before every step, whoever makes it, as
        torch.nn.utils.clip_grad_norm_ does (Pascanu et al., ICML 2013, arXiv:1211.5063), and before weight decay, which the
        optimiser adds. Losses are not scaled in any precision that there is, so neither is what is measured. One that is
        not finite stays so, and ends the training.

        Clipping (Stutz et al., ICCV 2021, arXiv:2104.04448) is of all trainable parameters. Their normalisation layers
        have the scale 1 + weight; of a plain scale that is the interval around 1.
        """
        if self.decays == "all":
            groups: list[dict[str, Any]] = [{"params": list(model.parameters()), "weight_decay": self.weight_decay}]
        else:
            decays = (self.weight_decay, 0.0)
            parts = zip(weight_space.split(model), decays, strict=True)
            groups = [{"params": part, "weight_decay": decay} for part, decay in parts if part]
        built = self.over(groups)
        if (most := self.max_norm) is not None:
            trained = list(model.parameters())

            def shorten(*_: object) -> None:
                nn.utils.clip_grad_norm_(trained, most)

            built.register_step_pre_hook(shorten)
        if self.clip is not None:
            clamp = weight_space.Clamp(model, self.clip)
            clamp()
            built.register_step_post_hook(lambda *_: clamp())
        return built

    def set(self, built: torch.optim.Optimizer, rate: float, momentum_shift: float) -> None:
        """Prepares a step: the learning rate, and what is added to the momentum."""
        for group in built.param_groups:
            group["lr"] = rate
            self.set_momentum(group, self.base_momentum + momentum_shift)


@register
class Sgd(Optimiser):
    """Stochastic gradient descent with momentum and L2 weight decay, as in torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    momentum: Real = Field(0.9, ge=0, lt=1, description="momentum")
    nesterov: bool = Field(True, description="Nesterov's form of momentum")

    def over(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        # fused: one pass over the weights, five times as fast on a CPU as a pass for each operation
        return torch.optim.SGD(
            groups, lr=0.0, momentum=self.momentum, nesterov=self.nesterov and self.momentum > 0, fused=True
        )

    @property
    def base_momentum(self) -> float:
        return self.momentum

    def set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        group["momentum"] = momentum


class Moments(Optimiser):
    """What Adam and its kin share: running means of gradients and of their squares."""

    beta1: Real = Field(0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: Real = Field(0.999, ge=0, lt=1, description="decay of the mean of their squares")
    epsilon: Real = Field(1e-8, gt=0, description="added to the root of the mean square")

    @property
    def base_momentum(self) -> float:
        return self.beta1

    def set_momentum(self, group: dict[str, Any], momentum: float) -> None:
        group["betas"] = (momentum, self.beta2)


@register
class Adam(Moments):
    """Adam (Kingma and Ba, ICLR 2015, arXiv:1412.6980) with weight decay as an L2 penalty, as in torch.optim.Adam."""

    name: Literal["adam"] = "adam"

    def over(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        # fused: the others read the step count off a tensor, every step
        return torch.optim.Adam(groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)


@register
class AdamW(Moments):
    """Adam whose weight decay is apart from the gradient (Loshchilov and Hutter, ICLR 2019, arXiv:1711.05101).

    w <- (1 - rate * weight_decay) * w before the step, as in torch.optim.AdamW.
    """

    name: Literal["adamw"] = "adamw"
    weight_decay: Real = Field(0.01, ge=0, description="weight decay; `decays` says of what")

    def over(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(groups, lr=0.0, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)
