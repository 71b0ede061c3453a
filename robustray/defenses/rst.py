"""Robust self-training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd, StepSize
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step
from robustray.registry import Real, register


@register
class Rst(Defense):
    """Robust self-training (Raghunathan et al., ICML 2020, arXiv:2002.10716; Carmon et al., NeurIPS 2019, 1905.13736).

    loss = CE(f(x), y) + lam * CE(f(x'), y),   x' = argmax CE(f(x'), y) inside the threat.

    Where a batch holds images whose labels a model gave, both terms are weighted means in which such an image counts
    `unlabeled_weight`; without them it is the weighted mix of natural and adversarial training that Yang et al. (NeurIPS
    2020, arXiv:2003.02460) call RST. They take the sum over a batch in place of the mean, and attack in training mode
    (`mode: train`), so that every attack step moves the running statistics; here the attack runs in eval mode. x' goes
    first through the network, then x. Passes per image with K attack steps: 2K + 6.
    """

    name: Literal["rst"] = "rst"
    lam: Real = Field(1.0, ge=0, description="weight of the adversarial term")
    unlabeled_weight: Real = Field(
        1.0, ge=0, description="what an image with a pseudo-label counts beside a labelled one"
    )

    published_attack: ClassVar[Attack] = Pgd(step_size=StepSize(of_eps=0.2))

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        robust, clean = step.logits(x_adv), step.logits(step.x)
        weights = torch.ones_like(clean[:, 0])
        if step.pseudo is not None:
            weights = weights.masked_fill(step.pseudo, self.unlabeled_weight)
        weights = weights / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)
        return Loss(
            clean=(weights * step.cross_entropy(clean, "none")).sum(),
            robust=self.lam * (weights * step.cross_entropy(robust, "none")).sum(),
        )
