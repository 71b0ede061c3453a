"""A run of projected ascent, which attacks by gradients consist of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from robustray._later import Tensor, nn, torch
from robustray.attacks.base import Objective, Outputs
from robustray.attacks.norms import Rule, per_image
from robustray.attacks.threats import Projection, Threat

Hears = Callable[[Tensor, Outputs], Tensor]
"""Hears an x' [B, C, H, W] with what the model says of it, and returns the x' that is kept so far."""


@dataclass(frozen=True)
class Ascent:
    """How x' goes from step to step: x'_{k+1} = Proj(x'_k + step_k(grad loss_k(x'_k))). Options as of `Pgd`.

    Attributes:
        tau: steps that an image still goes once it is misclassified; None: all.
    """

    threat: Threat
    rule: Rule | None = None
    density: float = 0.01
    projection: Projection = "nearest"
    tau: int | None = None

    def run(
        self,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        start: Tensor,
        steps: Iterable[tuple[Objective, float]],
        hears: Hears | None = None,
    ) -> Tensor:
        """x' after the last step, [B, C, H, W], inside the threat. Passes per image: 2 for each step.

        Args:
            steps: what each climbs, and its length in pixels.
            hears: every x' but the last; the start is then projected first.
        """
        stepped, x_adv = False, start if hears is None else self.threat.project(start, x, self.projection)
        left = torch.full_like(labels, self.tau or 0)  # steps an image still has once it is misclassified
        for climb, size in steps:
            x_adv = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                outputs = Outputs(model(x_adv))
                (gradient,) = torch.autograd.grad(climb(outputs, x_adv).sum(), x_adv)
            x_adv = x_adv.detach()
            if hears is not None:
                with torch.no_grad():
                    hears(x_adv, Outputs(outputs.logits.detach()))
            moved = self.threat.ascend(x_adv, gradient, size, rule=self.rule, density=self.density)
            if self.tau is not None:
                left = left - (outputs.logits.argmax(1) != labels).to(left)
                stays = x_adv.add(gradient, alpha=0)  # but not in silence where the gradient is not finite
                moved = torch.where(per_image(left >= 0, x), moved, stays)
            x_adv, stepped = self.threat.project(moved, x, self.projection), True
        return x_adv if stepped else self.threat.project(x_adv, x, self.projection)


def heard(model: nn.Module, x_adv: Tensor, hears: Hears) -> Tensor:
    """What is kept after one more x', which costs a forward of it."""
    with torch.no_grad():
        return hears(x_adv, Outputs(model(x_adv)))


def given_starts(start: Tensor | None, x: Tensor, runs: int) -> list[Tensor]:
    """The starts [B, C, H, W] that a caller gave for the first runs, one or several.

    Raises:
        ValueError: there are more than restarts.
    """
    given = [] if start is None else list(start.to(x) if start.ndim > x.ndim else start.to(x)[None])
    if len(given) > runs:
        raise ValueError(f"{len(given)} starts were given for restarts: {runs}")
    return given
