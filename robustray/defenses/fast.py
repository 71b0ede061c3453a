"""Fast adversarial training."""

from __future__ import annotations

from typing import ClassVar, Literal

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd, StepSize
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step
from robustray.registry import register


@register
class Fast(Defense):
    """Fast adversarial training, FGSM-RS (Wong et al., ICLR 2020, arXiv:2001.03994).

    loss = CE(f(x'), y),   x' one step of 1.25 eps along the gradient of CE(f(x'), y) from a uniform start, projected.

    Its danger is catastrophic overfitting: within an epoch robustness against stronger attacks falls to nothing while that
    against one step soars. So PGD-5 attacks one batch of training images after every epoch, and training ends, with the
    weights of the epoch before, once its accuracy there falls by more than 0.2, or `checkpoints.collapse`. The authors
    attack in training mode (`mode: train`); here the attack runs in eval mode. Passes per image: 2 + 3, and after an epoch
    12 for one batch.
    """

    name: Literal["fast"] = "fast"

    published_attack: ClassVar[Attack] = Pgd(steps=1, step_size=StepSize(of_eps=1.25))
    published_collapse: ClassVar[float] = 0.2

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        logits = step.logits(x_adv)
        return Loss(robust=step.cross_entropy(logits))
