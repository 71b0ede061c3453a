"""Training without an adversary: the clean end of every frontier."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from robustray.attacks.base import Attack
from robustray.defenses.base import Defense, Passes
from robustray.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.defenses.step import Loss, Step


@register
class Natural(Defense):
    """Empirical risk minimisation: loss = CE(f(x), y), mean over the batch. Passes per image: 3."""

    name: Literal["natural"] = "natural"
    soft_labels: ClassVar[bool] = True

    def perturb(self, step: Step) -> Tensor:
        return step.x

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        from robustray.attacks.losses import cross_entropy
        from robustray.defenses.step import Loss

        logits = step.logits(x_adv)
        return Loss(clean=cross_entropy(logits, self.targets(step, logits)))

    def passes(self, attack: Attack, images: int) -> Passes:
        return Passes(0, 3 * images)
