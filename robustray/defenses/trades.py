"""TRADES."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.divergences import divergence, of_logits
from robustray.attacks.losses import kl
from robustray.attacks.pgd import Pgd
from robustray.defenses.base import Defense, has_loss
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Trades(Defense):
    """TRADES (Zhang et al., ICML 2019, arXiv:1901.08573).

    loss = CE(f(x), y) + beta * KL(f(x) || f(x')),   x' = argmax KL(f(x) || f(x')) inside the threat.

    KL is summed over classes and averaged over the batch; gradients flow through both of its arguments. The attack runs
    in eval mode from x + 0.001 * n, n standard normal. Passes per image with K attack steps: 1 + 2K + 6. The authors'
    script computes f(x) anew in every attack step and once more in the loss; loss and gradients are equal without. In l2
    it steps by 2 eps / K and clamps before it scales: `step_size: {of_eps: 2/K}`, `projection: box_ball`. Gowal et al.
    (2020, arXiv:2010.03593) start uniformly, attack with batch statistics and smooth labels by 0.1.
    """

    name: Literal["trades"] = "trades"
    beta: Real = Field(6.0, ge=0, description="weight of the robust term: more trades clean accuracy for robustness")

    published_attack: ClassVar[Attack] = Pgd(start="gaussian")

    def perturb(self, step: Step) -> Tensor:
        if has_loss(step.bound.attack):
            return step.attack()
        clean = step.frozen_logits().softmax(1)
        return step.attack(lambda outputs, _: kl(clean, outputs.logits, "none"))

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        clean, robust = step.logits(step.x), step.logits(x_adv)
        return Loss(
            clean=step.cross_entropy(clean),
            robust=self.beta * divergence("kl", of_logits(clean), of_logits(robust)).mean(),
        )
