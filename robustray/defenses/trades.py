"""TRADES."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.defenses.base import Defense, Passes
from robustray.registry import Real, register

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses._step import Loss, Step


@register
class Trades(Defense):
    """TRADES (Zhang et al., ICML 2019, arXiv:1901.08573).

    loss = CE(f(x), y) + beta * KL(f(x) || f(x')),   x' = argmax KL(f(x) || f(x')) inside the threat.

    KL is summed over classes and averaged over the batch; gradients flow through both of its arguments. The attack runs
    in eval mode from x + 0.001 * n, n standard normal. Passes per image with K attack steps: 1 + 2K + 6. The authors'
    script computes f(x) anew in every attack step and once more in the loss; loss and gradients are equal without.
    """

    name: Literal["trades"] = "trades"
    beta: Real = Field(6.0, ge=0, description="weight of the robust term: more trades clean accuracy for robustness")

    published_attack: ClassVar[Attack] = Pgd(start="gaussian")

    def perturb(self, step: Step) -> Tensor:
        from robustray.attacks._losses import kl

        if getattr(step.bound.attack, "loss", None) is not None:
            return step.attack()  # a loss of the user's own: f(x) is not needed here
        clean = step.frozen_logits().softmax(1)
        return step.attack(lambda outputs, _: kl(clean, outputs.logits, "none"))

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        from robustray.attacks._losses import cross_entropy, kl_between
        from robustray.defenses._step import Loss

        clean, robust = step.logits(step.x), step.logits(x_adv)
        return Loss(clean=cross_entropy(clean, step.y), robust=self.beta * kl_between(clean, robust))

    def passes(self, attack: Attack, images: int) -> Passes:
        own_loss = getattr(attack, "loss", None)
        return Passes((attack.passes + (1 if own_loss is None else 0)) * images, 6 * images)
