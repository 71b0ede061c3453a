"""Consistency of two views under attack."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.divergences import divergence, of_logits
from robustray.defenses.base import Defense, Demand
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Consistency(Defense):
    """Adversarial training with consistency of two views (Tack et al., AAAI 2022, arXiv:2103.04623).

    loss = (CE(f(x'_1), y) + CE(f(x'_2), y)) / 2 + lam * JS(softmax(f(x'_1) / T), softmax(f(x'_2) / T)),
    x'_i = argmax CE(f(x'_i), y) around the i-th augmentation of an image,

    JS the Jensen-Shannon divergence, mean over the batch. The two views are independent draws of the batch's
    augmentations (without any, the attacks' random starts alone tell them apart) and go through the network together.
    Passes per image with K attack steps: 2 (2K + 3).
    """

    name: Literal["consistency"] = "consistency"
    lam: Real = Field(1.0, ge=0, description="weight of the divergence between the views")
    temperature: Real = Field(0.5, gt=0, description="T, by which logits are divided in the divergence")

    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary", "hard_labels"})

    def prepare(self, step: Step) -> Step:
        x, y = step.view()
        return step.but(
            x=torch.cat([step.x, x]),
            attacked=torch.cat([step.attacked, y]),
            targets=torch.cat([step.targets, step.targets]),
            labels=step.labels.repeat(2),
            pseudo=None if step.pseudo is None else step.pseudo.repeat(2),
        )

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        logits = step.logits(x_adv)
        first, second = (of_logits(half / self.temperature) for half in logits.chunk(2))
        return Loss(
            robust=step.cross_entropy(logits),
            consistency=self.lam * divergence("js", first, second).mean(),
        )
