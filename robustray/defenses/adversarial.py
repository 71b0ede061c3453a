"""Adversarial training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from robustray._later import Tensor, torch
from robustray.attacks.norms import per_image
from robustray.defenses.base import Defense
from robustray.defenses.step import Loss, Step, classes
from robustray.registry import Real, register


@register
class Adversarial(Defense):
    """Adversarial training (Madry et al., ICLR 2018, arXiv:1706.06083).

    loss = CE(f(x'), y),   x' = argmax CE(f(x'), y) inside the threat; PGD from a uniform start, model in eval mode.

    With `keep_clean` the loss is the mean over x and x' together, through one forward of both, so that batch statistics
    mix them. With `clean_fraction` c the first round(c B) images of a batch stay clean; one forward, one mean over all.
    `ignore_incorrect` and `prevent_label_leaking` are variants of Stutz et al. (ICCV 2021, arXiv:2104.04448): a pass in
    training mode, which moves no running statistics, predicts the attacked images first. Their PGD-7 is the attack's `keep:
    worst`, their PGD-7-tau its `tau` with `tau_rule: flipped`, in which an image that is never misclassified stays clean.

    Passes per image with K attack steps: 2K + 3, or 2K + 6 with keep_clean; 1 more where predictions are asked for; clean
    images 3.
    """

    name: Literal["adversarial"] = "adversarial"
    keep_clean: bool = Field(False, description="train on the clean batch as well, in one forward with x'")
    clean_fraction: Real = Field(0.0, ge=0, le=1, description="fraction of a batch that stays clean")
    ignore_incorrect: bool = Field(False, description="leave images clean that are misclassified without an attack")
    prevent_label_leaking: bool = Field(False, description="attack away from the predicted label, not the true one")

    perturbs_by: ClassVar[frozenset[str]] = frozenset({"ignore_incorrect", "prevent_label_leaking"})

    @model_validator(mode="after")
    def _clean_once(self) -> Adversarial:
        if self.keep_clean and self.clean_fraction:
            raise PydanticCustomError(
                "clean_twice", "keep_clean trains on every clean image already; leave clean_fraction at 0", {}
            )
        return self

    def perturb(self, step: Step) -> Tensor:
        clean = self._clean(len(step.x))
        if clean == 0:
            return self._attacked(step)
        if clean == len(step.x):
            return step.x
        return torch.cat([step.x[:clean], self._attacked(step.part(slice(clean, None)))])

    def loss(self, step: Step, x_adv: Tensor) -> Loss:
        if self.keep_clean:
            clean, robust = step.logits(torch.cat([step.x, x_adv])).chunk(2)
            return Loss(clean=step.cross_entropy(clean) / 2, robust=step.cross_entropy(robust) / 2)
        clean_images = self._clean(len(step.x))
        if clean_images:  # an update may have made x' of every image
            x_adv = torch.cat([step.x[:clean_images], x_adv[clean_images:]])
        logits = step.logits(x_adv)
        losses = step.cross_entropy(logits, "none")
        parts = {"clean": losses[:clean_images], "robust": losses[clean_images:]}
        return Loss(**{name: part.sum() / len(losses) for name, part in parts.items() if len(part)})

    def _clean(self, images: int) -> int:
        return round(self.clean_fraction * images)

    def _attacked(self, step: Step) -> Tensor:
        if not (self.ignore_incorrect or self.prevent_label_leaking):
            return step.attack()
        predicted = step.frozen_logits("train_frozen").argmax(1)
        x_adv = step.but(attacked=predicted).attack() if self.prevent_label_leaking else step.attack()
        if not self.ignore_incorrect:
            return x_adv
        return torch.where(per_image(predicted == classes(step.attacked), x_adv), x_adv, step.x)
