"""Curricula: what is asked of a model changes in the course of training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import ClassVar, NamedTuple

from pydantic import Field

from robustray.attacks.base import BoundAttack
from robustray.data.spatial import Resampling
from robustray.defenses.base import Defense
from robustray.registry import Part
from robustray.training.schedules import Schedule


class Amounts(NamedTuple):
    """How much of each thing at a moment of training; as they are here, nothing is changed."""

    eps_scale: float = 1.0
    """Times the eps of what is trained against."""
    step_scale: float = 1.0
    """Times the step of the training attack."""
    beta_scale: float = 1.0
    """Times the defense's beta."""
    rotation: float = 0.0
    """Largest angle, in degrees to either side, that images are turned by before the attack."""
    translation: float = 0.0
    """Largest distance, in pixels in each direction, that they are moved by before the attack."""

    def applied(self, attack: BoundAttack, defense: Defense) -> tuple[BoundAttack, Defense]:
        """The attack and the defense with their numbers scaled."""
        if self.eps_scale != 1:
            threat = attack.threat.model_copy(update={"eps": self.eps_scale * attack.threat.eps})
            attack = BoundAttack(attack.attack, threat)
        if self.step_scale != 1:
            step = attack.attack.step_size.scaled(self.step_scale)  # type: ignore[attr-defined]
            attack = BoundAttack(attack.attack.model_copy(update={"step_size": step}), attack.threat)
        if self.beta_scale != 1:
            defense = defense.model_copy(update={"beta": self.beta_scale * defense.beta})  # type: ignore[attr-defined]
        return attack, defense


class Moment(NamedTuple):
    """Batch 0 <= step < total of a training, with so many batches per epoch and a schedule."""

    step: int
    total: int
    per_epoch: int
    schedule: Schedule


class Curriculum(Part):
    """Scales the trial's own eps, step and beta, and moves images, as a function of the moment: resuming needs no state.

    Images are turned and moved after the augmentations and before the attack, angle and distances uniform, drawn per image.
    """

    kind: ClassVar[str] = "curriculum"

    resampling: Resampling = Field(
        Resampling(), description="how pixels are found between and outside those there are, where images move"
    )

    @abstractmethod
    def at(self, moment: Moment) -> Amounts:
        """What applies to the batch of a moment."""

    @property
    @abstractmethod
    def changed(self) -> frozenset[str]:
        """The fields of `Amounts` that it sets."""

    def without(self, amounts: Collection[str]) -> Curriculum | None:
        """The same as far as it sets other fields of `Amounts`; None where it sets no other."""
        if self.changed <= set(amounts):
            return None
        return self.model_copy(update={name: None for name in amounts if name in type(self).model_fields})

    def check(self, schedule: Schedule) -> None:
        """Whether all of it happens under a schedule.

        Raises:
            ValueError: part of it never does.
        """
