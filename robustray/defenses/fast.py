"""Fast adversarial training."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd, StepSize
from robustray.defenses.base import Defense, Passes
from robustray.registry import Real, register

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses.step import Loss, Step


@register
class Fast(Defense):
    """Fast adversarial training, FGSM-RS (Wong et al., ICLR 2020, arXiv:2001.03994).

    loss = CE(f(x'), y),   x' one step of 1.25 eps along the gradient of CE(f(x'), y) from a uniform start, projected.

    Its danger is catastrophic overfitting: within an epoch robustness against stronger attacks falls to nothing while that
    against one step soars. So PGD-5 attacks one batch of training images after every epoch, and training ends, with the
    weights of the epoch before, once its accuracy there falls by more than `guard`. The authors attack in training mode
    (`mode: train`); here the attack runs in eval mode. Passes per image: 2 + 3, and after an epoch 12 for one batch.
    """

    name: Literal["fast"] = "fast"
    guard: Real = Field(
        0.2, ge=0, le=1, description="fall of PGD accuracy within an epoch at which training ends; 1: it never does"
    )

    published_attack: ClassVar[Attack] = Pgd(steps=1, step_size=StepSize(of_eps=1.25))
    soft_labels: ClassVar[bool] = True

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        from robustray.attacks.losses import cross_entropy
        from robustray.defenses.step import Loss

        logits = step.logits(x_adv)
        return Loss(robust=cross_entropy(logits, self.targets(step, logits)))

    def passes(self, attack: Attack, images: int) -> Passes:
        return Passes(attack.passes * images, 3 * images)

    def largest_drop(self) -> float | None:
        return self.guard if self.guard < 1 else None
