"""Curricula: what is asked of a model changes in the course of training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.attacks.base import BoundAttack
from robustray.data.spatial import Resampling
from robustray.defenses.base import Defense
from robustray.registry import Count, Options, Part, Real, register
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

    def check(self, schedule: Schedule) -> None:
        """Whether all of it happens under a schedule.

        Raises:
            ValueError: part of it never does.
        """


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
    def said(self) -> dict[str, float]:
        """What it changes, by the fields of `Amounts`."""
        return {name: value for name in Amounts._fields if (value := getattr(self, name)) is not None}


def _staged(stages: tuple[Stage, ...], moment: Moment) -> Amounts:
    amounts = Amounts()
    for stage in stages:
        if stage.begin is None or stage.begin.step(moment) <= moment.step:
            amounts = amounts._replace(**stage.said)
    return amounts


@register
class Stages(Curriculum):
    """Stages, one after the other. What a stage does not say stays as it was, and at first as the trial has it."""

    name: Literal["stages"] = "stages"
    stages: tuple[Stage, ...] = Field(min_length=1, description="stages in order, each but the first with its `begin`")

    @field_validator("stages")
    @classmethod
    def _begins(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for number, stage in enumerate(value, start=1):
            if (stage.begin is None) != (number == 1):
                wrong = "begins with training: give it no begin" if number == 1 else "needs a begin"
                raise PydanticCustomError("begin", "stage {number} {wrong}", {"number": number, "wrong": wrong})
        return value

    def at(self, moment: Moment) -> Amounts:
        return _staged(self.stages, moment)

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(name for stage in self.stages for name in stage.said)

    def check(self, schedule: Schedule) -> None:
        before = 0.0
        for number, stage in enumerate(self.stages[1:], start=2):
            part = stage.begin.part(schedule) if stage.begin is not None else 0
            if part >= 1:
                raise ValueError(f"stage {number} begins after the last of {schedule.epochs} epochs; use a fraction")
            if part <= before:
                raise ValueError(f"stage {number} must begin after stage {number - 1}, at {before:.3g} of training")
            before = part


class Ramp(Options):
    """A value that goes from one to another in a straight line, between two fractions of training."""

    first: Real = Field(description="value before it begins")
    last: Real = Field(description="value after it ends")
    begin: Real = Field(0.0, ge=0, lt=1, description="fraction of training before it begins")
    end: Real = Field(1.0, gt=0, le=1, description="fraction of training when it ends; 1 is the last batch")

    @model_validator(mode="after")
    def _forward(self) -> Ramp:
        if self.begin >= self.end:
            raise ValueError(f"begin must be below end, but {self.begin:g} is not below {self.end:g}")
        return self

    def at(self, progress: float) -> float:
        """The value at a fraction of training."""
        part = min(max((progress - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.first + part * (self.last - self.first)


_MOST = {"eps_scale": 1.0, "step_scale": 100.0, "beta_scale": 100.0, "rotation": 180.0, "translation": 1000.0}


@register
class Ramps(Curriculum):
    """Straight lines, each between its own ends, from batch to batch."""

    name: Literal["ramps"] = "ramps"
    eps_scale: Ramp | None = Field(Ramp(first=0, last=1), description="fraction of the threat's eps; null: all of it")
    step_scale: Ramp | None = Field(None, description="times the attack's step_size")
    beta_scale: Ramp | None = Field(None, description="times the defense's beta")
    rotation: Ramp | None = Field(None, description="largest rotation in degrees, to either side")
    translation: Ramp | None = Field(None, description="largest translation in pixels, in each direction")

    @field_validator(*_MOST)
    @classmethod
    def _bounded(cls, value: Ramp | None, info: ValidationInfo) -> Ramp | None:
        most = _MOST[info.field_name or ""]
        if value is not None and not (0 <= value.first <= most and 0 <= value.last <= most):
            raise PydanticCustomError("ramp", "must stay between 0 and {most}", {"most": most})
        return value

    def at(self, moment: Moment) -> Amounts:
        progress = moment.step / max(moment.total - 1, 1)
        return Amounts(**{name: getattr(self, name).at(progress) for name in self.changed})

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(name for name in _MOST if getattr(self, name) is not None)


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
        return _staged(self.stages, moment)

    @property
    def changed(self) -> frozenset[str]:
        return frozenset({"eps_scale", "rotation", "translation"})
