"""Consistency of two views under attack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from robustray.attacks.base import Attack
from robustray.defenses.base import Defense, Passes
from robustray.registry import Real, register

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses.step import Loss, Step


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

    def prepare(self, step: Step) -> Step:
        import torch

        x, y = step.view()
        pseudo = None if step.pseudo is None else step.pseudo.repeat(2)
        return step.but(
            x=torch.cat([step.x, x]),
            y=torch.cat([step.y, y]),
            targets=step.targets.repeat(2),
            pseudo=pseudo,
        )

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        from robustray.attacks.divergences import divergence, of_logits
        from robustray.attacks.losses import cross_entropy
        from robustray.defenses.step import Loss

        logits = step.logits(x_adv)
        first, second = (of_logits(half / self.temperature) for half in logits.chunk(2))
        return Loss(
            robust=cross_entropy(logits, self.targets(step, logits)),
            consistency=self.lam * divergence("js", first, second).mean(),
        )

    def passes(self, attack: Attack, images: int) -> Passes:
        return Passes(2 * attack.passes * images, 6 * images)
