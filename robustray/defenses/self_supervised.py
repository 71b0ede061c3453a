"""Adversarial training with rotation as a second task."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.losses import cross_entropy
from robustray.defenses.base import Defense, Demand
from robustray.defenses.step import Loss, Step
from robustray.errors import UserError
from robustray.registry import Real, register


@register
class SelfSupervised(Defense):
    """Adversarial training with self-supervision (Hendrycks et al., NeurIPS 2019, arXiv:1906.12340).

    loss = CE(f(x'_1), y) + weight * CE(r(x'_2), k),   x'_i = argmax of its own term inside the threat.

    The first half of a batch keeps its labels; each image of the second is turned by k quarter turns, k drawn from
    {0, 1, 2, 3}, which an auxiliary head r has to tell: four more outputs of the last layer, on the features f has. Both
    are means over their half, in one forward. A step so learns from half as many labels, as with Stutz et al. (ICCV 2021,
    arXiv:2104.04448), whose head has a hidden layer. Passes per image with K attack steps: 2K + 3.
    """

    name: Literal["self_supervised"] = "self_supervised"
    weight: Real = Field(1.0, ge=0, description="weight of the rotation term")

    demands: ClassVar[frozenset[Demand]] = frozenset({"an_adversary", "hard_labels"})
    aux_outputs: ClassVar[int] = 4

    def prepare(self, step: Step) -> Step:
        """The step with its second half turned, labels of turns counted on from the classes.

        Raises:
            UserError: the images are not square, or there is only one.
        """
        from robustray.models.heads import OwnHead

        images, _, height, width = step.x.shape
        if height != width or images < 2:
            raise UserError(f"self_supervised turns half of a batch of square images, not {images} of {height}x{width}")
        half = images - images // 2
        device = step.x.device
        turns = torch.randint(0, 4, (images - half,), generator=step.generator, device=device)
        turned = torch.stack([step.x[half:].rot90(k, (2, 3)) for k in range(4)])
        model = OwnHead(step.model, torch.arange(images, device=device) >= half)
        return step.but(
            model=model,
            x=torch.cat([step.x[:half], turned[turns, torch.arange(images - half, device=device)]]),
            attacked=torch.cat([step.attacked[:half], model.heads.classes + turns]),
        )

    def perturb(self, step: Step) -> Tensor:
        return step.attack()

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        outputs = step.logits(x_adv)
        half = len(outputs) - len(outputs) // 2
        logits = outputs[:half, : -self.aux_outputs]
        return Loss(
            robust=step.part(slice(half)).cross_entropy(logits),
            rotation=self.weight * cross_entropy(outputs[half:], step.attacked[half:]),
        )
