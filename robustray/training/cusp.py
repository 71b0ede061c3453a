"""CuSP."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray.registry import Real, register
from robustray.training.curricula import Amounts, Curriculum, Moment
from robustray.training.stages import Begin, EpsScale, Rotation, Stage, Translation, staged


@register
class Cusp(Curriculum):
    """CuSP (Kamath et al., NeurIPS 2021, arXiv:2002.11318): rotation and eps grow together, in three stages.

    By default the published budgets: rotations within 120, 150 and 180 degrees, a quarter, half and all of eps (2, 4 and
    8/255 of 8/255), each from where the learning rate drops: after epochs 74 and 89 of 120. That is with

        schedule: {name: multi_step, epochs: 120, lr: 0.1, milestones: [74/120, 89/120, 99/120]}
        attack: {steps: 10, step_size: 2/255}, defense: adversarial      the PGD form
        attack: {steps: 10, step_size: 0.007}, defense: {name: trades, beta: 5}      the TRADES form

    and augmentations crop and flip. Stages of one's own, also at the drops themselves: `stages`.
    """

    name: Literal["cusp"] = "cusp"
    rotations: tuple[Rotation, Rotation, Rotation] = Field(
        (120, 150, 180), description="largest rotation of each stage, in degrees"
    )
    translations: tuple[Translation, Translation, Translation] = Field(
        (0, 0, 0), description="largest translation of each stage, in pixels"
    )
    eps_scales: tuple[EpsScale, EpsScale, EpsScale] = Field(
        (0.25, 0.5, 1), description="fraction of the threat's eps in each stage"
    )
    boundaries: tuple[Annotated[Real, Field(gt=0, lt=1)], Annotated[Real, Field(gt=0, lt=1)]] = Field(
        (74 / 120, 89 / 120), description="fractions of training at which the second and the third stage begin"
    )

    @field_validator("boundaries")
    @classmethod
    def _ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value[0] >= value[1]:
            raise PydanticCustomError("order", "must be in ascending order, each once")
        return value

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Its three stages."""
        begins = (None, *(Begin(fraction=boundary) for boundary in self.boundaries))
        return tuple(
            Stage(begin=begin, eps_scale=eps, rotation=rotation, translation=translation)
            for begin, eps, rotation, translation in zip(
                begins, self.eps_scales, self.rotations, self.translations, strict=True
            )
        )

    def at(self, moment: Moment) -> Amounts:
        return staged(self.stages, moment)

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({"eps_scale", "rotation", "translation"})
