"""A curriculum in stages, that begin at an epoch, at a fraction of training, or at a drop of the learning rate."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.registry import Count, Options, Real, register
from robustray.training.curricula import Amounts, Curriculum, Moment
from robustray.training.schedules import Schedule

EpsScale = Annotated[Real, Field(ge=0, le=1, description="fraction of the threat's eps")]
StepScale = Annotated[Real, Field(gt=0, le=100, description="times the attack's step_size")]
BetaScale = Annotated[Real, Field(ge=0, le=100, description="times the defense's beta")]
Rotation = Annotated[Real, Field(ge=0, le=180, description="largest rotation in degrees, to either side")]
Translation = Annotated[Real, Field(ge=0, le=1000, description="largest translation in pixels, in each direction")]


class Begin(Options):
    """When a stage begins: after so many epochs, at a fraction of training, or at a drop of the learning rate."""

    epoch: Count | None = Field(None, ge=0, description="epochs done before it")
    fraction: Real | None = Field(None, ge=0, lt=1, description="fraction of training done before it")
    drop: Count | None = Field(None, ge=1, description="number of the learning rate's drop, from 1")

    @model_validator(mode="after")
    def _one(self) -> Begin:
        if [self.epoch, self.fraction, self.drop].count(None) != 2:
            raise ValueError("give one of epoch, fraction and drop")
        return self

    def part(self, schedule: Schedule) -> float:
        """The fraction of training done before it.

        Raises:
            ValueError: the schedule drops less often.
        """
        if self.drop is None:
            return self.fraction if self.fraction is not None else (self.epoch or 0) / schedule.epochs
        if self.drop > len(schedule.drops):
            raise ValueError(f"waits for drop {self.drop} of the learning rate, but schedule {schedule.name} has "
                             f"{len(schedule.drops) or 'none'}; use multi_step, or begin at a fraction")  # fmt: skip
        return schedule.drops[self.drop - 1]

    def step(self, moment: Moment) -> int:
        """The first batch after it."""
        if self.epoch is not None:
            return self.epoch * moment.per_epoch
        return round(self.part(moment.schedule) * moment.total)


class Stage(Options):
    """What applies from one moment on. What is not said stays as it was."""

    begin: Begin | None = Field(None, description="when it begins; the first stage begins with training")
    eps_scale: EpsScale | None = None
    step_scale: StepScale | None = None
    beta_scale: BetaScale | None = None
    rotation: Rotation | None = None
    translation: Translation | None = None

    @property
    def changes(self) -> dict[str, float]:
        """What it changes, by the fields of `Amounts`."""
        return {name: value for name in Amounts._fields if (value := getattr(self, name)) is not None}


def staged(stages: tuple[Stage, ...], moment: Moment) -> Amounts:
    amounts = Amounts()
    for stage in stages:
        if stage.begin is None or stage.begin.step(moment) <= moment.step:
            amounts = amounts._replace(**stage.changes)
    return amounts


@register
class Stages(Curriculum):
    """Stages, one after the other. What a stage does not say stays as it was, and at first as the trial has it."""

    name: Literal["stages"] = "stages"
    stages: tuple[Stage, ...] = Field(
        min_length=1,
        description="stages in order, each but the first with its `begin`",
        examples=[[{"eps_scale": 0.5}, {"begin": {"fraction": 0.5}, "eps_scale": 1.0}]],
    )

    @field_validator("stages")
    @classmethod
    def _begins(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for number, stage in enumerate(value, start=1):
            if (stage.begin is None) != (number == 1):
                wrong = "begins with training: give it no begin" if number == 1 else "needs a begin"
                raise PydanticCustomError("begin", "stage {number} {wrong}", {"number": number, "wrong": wrong})
        return value

    def at(self, moment: Moment) -> Amounts:
        return staged(self.stages, moment)

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(name for stage in self.stages for name in stage.changes)

    def without(self, amounts: Collection[str]) -> Curriculum | None:
        unset = {"stages": tuple(stage.model_copy(update=dict.fromkeys(amounts)) for stage in self.stages)}
        return None if self.changed <= set(amounts) else self.model_copy(update=unset)

    def check(self, schedule: Schedule) -> None:
        before = 0.0
        for number, stage in enumerate(self.stages[1:], start=2):
            part = stage.begin.part(schedule) if stage.begin is not None else 0
            if part >= 1:
                raise ValueError(f"stage {number} begins after the last of {schedule.epochs} epochs; use a fraction")
            if part <= before:
                raise ValueError(f"stage {number} must begin after stage {number - 1}, at {before:.3g} of training")
            before = part
