"""The fast gradient sign method."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.base import Attack, Objective
from robustray.attacks.pgd import Pgd, StepSize
from robustray.attacks.threats import Threat
from robustray.registry import register


@register
class Fgsm(Attack):
    """One step to the end of the ball: the fast gradient sign method (Goodfellow et al., ICLR 2015, arXiv:1412.6572).

    x' = Proj(x + step(grad loss(x))),   ||step|| = eps.

    The step is steepest ascent in the threat's norm: eps * sign(g) in linf, eps * g / ||g||_2 in l2, SLIDE's sparse step in
    l1. On a linear classifier of two classes it is the best attack in linf and l2, wherever the box leaves room. A network
    that stands it and falls to `pgd` has overfitted to it (Wong et al., ICLR 2020, arXiv:2001.03994).

    Passes per image: 2.
    """

    name: Literal["fgsm"] = "fgsm"
    loss: Literal["ce", "margin", "pm", "dlr"] | None = Field(
        None, description="what the step climbs; null: the defense's own objective, cross-entropy where it has none"
    )

    @property
    def passes(self) -> int:
        return 2

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
        one = Pgd(steps=1, step_size=StepSize(of_eps=1), start="none", loss=self.loss)
        return one.run(model, x, y, threat, objective=objective, start=start, generator=generator)
