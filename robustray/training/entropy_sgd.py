"""Entropy-SGD."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field

from robustray import weight_space
from robustray._later import nn, torch
from robustray.defenses.step import Loss
from robustray.registry import Count, Real, register
from robustray.training.updates import BoundUpdate, Minibatch, Update


@register
class EntropySgd(Update):
    """Entropy-SGD (Chaudhari et al., ICLR 2017, arXiv:1611.01838): descends the local entropy of the loss.

    An inner walk by stochastic gradient Langevin dynamics starts at the weights w, v_0 = mu_0 = w, and takes `steps` steps

        v_k  = v_{k-1} - a * (grad loss(x'; v_{k-1}) - gamma_t * (w - v_{k-1})) + sqrt(a) * noise * n,   n normal
        mu_k = (1 - average) * mu_{k-1} + average * v_k,

    with a = step_size and x' made anew, of the same batch, at every one of them. What is descended is w - mu: a learning
    rate of 1 goes to mu. Without steps it is the plain gradient. The scope grows from batch to batch,
    gamma_t = min(gamma * (1 + scoping)^t, 1 / a): beyond, a step would overshoot w. Buffers move at every inner step.

    Passes per image: max(steps, 1) times those of x' and of the loss.
    """

    name: Literal["entropy_sgd"] = "entropy_sgd"
    steps: Count = Field(1, ge=0, le=1000, description="inner Langevin steps per batch; 0 is the plain gradient")
    step_size: Real = Field(0.1, gt=0, le=10, description="inner step size a")
    gamma: Real = Field(1e-4, ge=0, description="scope: how strongly the inner walk is held near the weights")
    scoping: Real = Field(0.0, ge=0, le=1, description="relative growth of gamma per batch; the authors use 1e-3")
    noise: Real = Field(1e-4, ge=0, description="standard deviation of the noise, per square root of a")
    average: Real = Field(0.75, gt=0, le=1, description="weight of the newest point in the walk's mean")

    def bind(self, model: nn.Module) -> BoundUpdate:
        return _BoundEntropy(self, model)

    def gamma_at(self, batches: int) -> float:
        """gamma_t after t = `batches` batches."""
        growth = min(batches * math.log1p(self.scoping), 700)  # beyond, exp is no number
        return min(self.gamma * math.exp(growth), 1 / self.step_size)


class _BoundEntropy:
    def __init__(self, rule: EntropySgd, model: nn.Module) -> None:
        self.rule = rule
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self.batches = 0

    def __call__(self, batch: Minibatch) -> Loss:
        rule, gamma = self.rule, self.rule.gamma_at(self.batches)
        self.batches += 1
        if rule.steps == 0:
            return batch.gradient(batch.attack())
        with weight_space.kept(self.weights) as home:
            means = [start.clone() for start in home]
            for _ in range(rule.steps):
                loss = batch.gradient(batch.attack())
                with torch.no_grad():
                    for w, start, mean in zip(self.weights, home, means, strict=True):
                        if w.grad is None:
                            continue
                        normal = torch.randn(w.shape, generator=batch.generator, device=w.device, dtype=w.dtype)
                        w.sub_(rule.step_size * (w.grad - gamma * (start - w)))
                        w.add_(normal, alpha=rule.step_size**0.5 * rule.noise)
                        mean.lerp_(w, rule.average)
        with torch.no_grad():
            for w, mean in zip(self.weights, means, strict=True):
                if w.grad is not None:
                    w.grad.copy_(w - mean)
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.batches = state["batches"]
