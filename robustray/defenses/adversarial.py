"""Adversarial training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from robustray.attacks.base import Attack
from robustray.defenses.base import Defense, Passes
from robustray.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses._step import Loss, Step


@register
class Adversarial(Defense):
    """Adversarial training (Madry et al., ICLR 2018, arXiv:1706.06083).

    loss = CE(f(x'), y),   x' = argmax CE(f(x'), y) inside the threat; PGD from a uniform start, model in eval mode.
    With `keep_clean` the loss is the mean over x and x' together, through one forward of both, so that batch statistics
    mix them. Passes per image with K attack steps: 2K + 3, or 2K + 6 with keep_clean.
    """

    name: Literal["adversarial"] = "adversarial"
    keep_clean: bool = Field(False, description="train on the clean batch as well, in one forward with x'")

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        import torch

        from robustray.attacks._losses import cross_entropy
        from robustray.defenses._step import Loss

        if not self.keep_clean:
            return Loss(robust=cross_entropy(step.logits(x_adv), step.y))
        clean, robust = step.logits(torch.cat([step.x, x_adv])).chunk(2)
        return Loss(clean=cross_entropy(clean, step.y) / 2, robust=cross_entropy(robust, step.y) / 2)

    def passes(self, attack: Attack, images: int) -> Passes:
        return Passes(attack.passes * images, (6 if self.keep_clean else 3) * images)
