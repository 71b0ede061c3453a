"""Projected gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_serializer, model_validator

from robustray.attacks.base import Attack, Objective, Outputs
from robustray.attacks.threats import Threat
from robustray.registry import Count, Options, Real, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class StepSize(Options):
    """A step in pixels (a bare number), or as a fraction of eps: `{of_eps: 0.25}`."""

    of_eps: Real | None = Field(None, gt=0, description="step as a fraction of eps")
    pixels: Real | None = Field(None, ge=0, description="step in pixels of [0, 1]")

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: object) -> object:
        return value if isinstance(value, dict | cls) else {"pixels": value}

    @model_validator(mode="after")
    def _one(self) -> StepSize:
        if (self.of_eps is None) == (self.pixels is None):
            raise ValueError("give either a number of pixels or {of_eps: fraction}")
        return self

    @model_serializer
    def _short(self) -> Any:
        return self.pixels if self.pixels is not None else {"of_eps": self.of_eps}

    def within(self, eps: float) -> float:
        """The step in pixels for a radius eps."""
        return self.pixels if self.pixels is not None else (self.of_eps or 0.0) * eps


@register
class Pgd(Attack):
    """Projected gradient descent (Madry et al., ICLR 2018, arXiv:1706.06083).

    x'_0 = start;   x'_{k+1} = Proj(x'_k + step_size * sign(grad loss(x'_k))),   Proj onto the eps ball, then [0, 1].

    Losses: `ce` cross-entropy; `kl` KL(f(x) || f(x')), the TRADES objective, with f(x) computed once; `margin`
    max_{j != y} z_j - z_y (Carlini and Wagner, 2017). Starts: `uniform` in the ball, clamped to [0, 1]; `gaussian`
    x + sigma * n, n standard normal, neither clamped nor projected, as TRADES does; `none` x itself. A caller may also
    give the starting images. Passes per image: 2 * steps (a forward and a gradient to the input each), kl one more.
    """

    name: Literal["pgd"] = "pgd"
    steps: Count = Field(10, ge=0, le=100_000, description="gradient steps")
    step_size: StepSize = Field(
        StepSize(of_eps=0.25), description="length of a step: pixels, or {of_eps: fraction of the radius}"
    )
    loss: Literal["ce", "kl", "margin"] | None = Field(
        None, description="what the attack climbs; null: the defense's own objective, cross-entropy where it has none"
    )
    start: Literal["uniform", "gaussian", "none"] = Field("uniform", description="where the attack starts")
    sigma: Real = Field(0.001, gt=0, description="standard deviation of a gaussian start, in pixels")

    @property
    def passes(self) -> int:
        return 2 * self.steps + (self.loss == "kl")

    def run(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        *,
        objective: Objective | None,
        start: Tensor | None,
        generator: torch.Generator | None,
    ) -> Tensor:
        import torch

        climb = self._own_objective(model, x, y) if objective is None or self.loss is not None else objective
        step_size = self.step_size.within(threat.eps)
        x_adv = self._start(x, threat, generator) if start is None else start.to(x)
        for _ in range(self.steps):
            x_adv = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                (gradient,) = torch.autograd.grad(climb(Outputs(model(x_adv)), x_adv), x_adv)
            x_adv = threat.project(threat.ascend(x_adv.detach(), gradient, step_size), x)
        return x_adv if self.steps else threat.project(x_adv, x)

    def _own_objective(self, model: nn.Module, x: Tensor, y: Tensor) -> Objective:
        import torch

        from robustray.attacks import _losses

        if self.loss == "kl":
            with torch.no_grad():
                clean = model(x).softmax(1)
            return lambda outputs, _: _losses.kl(clean, outputs.logits)
        if self.loss == "margin":
            return lambda outputs, _: _losses.margin(outputs.logits, y).sum()
        return lambda outputs, _: _losses.cross_entropy(outputs.logits, y)

    def _start(self, x: Tensor, threat: Threat, generator: torch.Generator | None) -> Tensor:
        import torch

        if self.start == "none":
            return x.clone()
        if self.start == "gaussian":
            return x + self.sigma * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        return threat.uniform(x, generator)
