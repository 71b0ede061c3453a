"""Training without an adversary: the clean end of every frontier."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustray._later import Tensor
from robustray.defenses.base import Defense, Demand
from robustray.defenses.step import Loss, Step
from robustray.registry import register


@register
class Natural(Defense):
    """Empirical risk minimisation: loss = CE(f(x), y), mean over the batch. Passes per image: 3."""

    name: Literal["natural"] = "natural"

    demands: ClassVar[frozenset[Demand]] = frozenset()

    def perturb(self, step: Step) -> Tensor:
        return step.x

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        logits = step.logits(x_adv)
        return Loss(clean=step.cross_entropy(logits))
