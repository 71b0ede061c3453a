"""TrialConfig: the whole description of one trial, how it is measured included. Loads without torch."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.attacks.base import Attack
from robustray.attacks.threats import Threat
from robustray.data.augment import Augmentation
from robustray.data.mix import Mix
from robustray.defenses.base import Defense
from robustray.defenses.trades import Trades
from robustray.judge import Judge
from robustray.models.base import Architecture
from robustray.models.small_cnn import SmallCnn
from robustray.options.mistakes import mistakes
from robustray.options.yaml import Document
from robustray.registry import Count, Options, Real, Registered, parts
from robustray.training.averaging import Averaging, Ema
from robustray.training.curricula import Curriculum
from robustray.training.optimisers import Optimiser, Sgd
from robustray.training.schedules import OneCycle, Schedule
from robustray.training.updates import Plain, Update


class Batch(Options):
    """Batches of training images."""

    size: Count = Field(128, ge=1, description="images per optimiser step")
    augment: tuple[Annotated[Augmentation, Registered("augmentation")], ...] = Field(
        (), description="augmentations in order, each drawn per image"
    )
    mix: Annotated[Mix, Registered("mix")] | None = Field(
        None, description="images of a file that a fraction of every batch is drawn from; null: none"
    )
    label_noise: Real = Field(
        0.0, ge=0, le=1, description="share of labels that the loss sees replaced by a random class; attacks see none"
    )

    @model_validator(mode="after")
    def _both_kinds(self) -> Batch:
        if self.mix is not None and not self.mix.drawn(self.size):
            raise PydanticCustomError(
                "mix",
                "a fraction of {fraction} of {size} images is none; use a larger one, or no mix",
                {"fraction": self.mix.fraction, "size": self.size, "key": "mix"},
            )
        return self


class Checkpoints(Options):
    """Which checkpoint counts, and when one is written."""

    select: Literal["last", "best_robust"] = Field(
        "last", description="the checkpoint that counts: the last, or the one with the best robust accuracy on tune"
    )
    validate_every: Count = Field(1, ge=1, description="epochs between validations; the last epoch always has one")
    every: Count | None = Field(
        None, ge=1, description="epochs between averages that are kept for good, as epoch-<epoch>.pt; null: none are"
    )
    minutes: Real = Field(
        10, gt=0, description="a checkpoint inside an epoch at least this often; every epoch ends in one"
    )


class TrialConfig(Options):
    """One trial: everything that training it and measuring it depends on."""

    judge: Judge
    seed: Count = Field(0, ge=0, le=2**53, description="every random draw of the trial derives from it")
    batch: Batch = Batch()
    model: Annotated[Architecture, Registered("model")] = SmallCnn()
    threat: Threat | None = Field(
        None, description="what is trained against; default: judge.threat, or its norm where only eps is given"
    )
    attack: Annotated[Attack, Registered("attack")] | None = Field(
        None, description="the training attack; what is not said is the defense's published attack"
    )
    defense: Annotated[Defense, Registered("defense")] = Trades()
    update: Annotated[Update, Registered("update")] = Plain()
    averaging: Annotated[Averaging, Registered("averaging")] = Ema()
    optimiser: Annotated[Optimiser, Registered("optimiser")] = Sgd()
    schedule: Annotated[Schedule, Registered("schedule")] = OneCycle()
    curriculum: Annotated[Curriculum, Registered("curriculum")] | None = Field(
        None,
        description="what changes in the course of training: eps, step, beta, rotation, translation; null: nothing",
    )
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="precision inside the network; pixels and losses are fp32. tf32: fp32 whose products are rounded on CUDA",
    )
    compile: Literal["off", "default", "max"] = Field(
        "off",
        description="torch.compile of the network in attacks and training; max tunes kernels for minutes, and uses CUDA graphs",
    )
    deterministic: bool = Field(
        False, description="the same bits on every run also on CUDA, by slower kernels; the CPU needs it not"
    )
    checkpoints: Checkpoints = Checkpoints()

    @field_validator("threat", mode="before")
    @classmethod
    def _same_norm(cls, value: Any, info: ValidationInfo) -> Any:
        """A training threat that names no norm has the judge's."""
        judge = info.data.get("judge")
        if isinstance(value, dict) and judge is not None:
            return {"norm": judge.threat.norm, **value}
        return value

    @field_validator("compile", mode="before")
    @classmethod
    def _off(cls, value: Any, info: ValidationInfo) -> Any:
        """In YAML `off` is false."""
        return "off" if value is False else value

    @field_validator("compile")
    @classmethod
    def _traceable(cls, value: str, info: ValidationInfo) -> str:
        defense = info.data.get("defense")
        if value != "off" and defense is not None and defense.second_order:
            raise PydanticCustomError(
                "second_order",
                "defense {name} differentiates gradients, which compiled networks cannot; use compile: off",
                {"name": defense.name},
            )
        return value

    @field_validator("defense")
    @classmethod
    def _takes_the_labels(cls, value: Defense, info: ValidationInfo) -> Defense:
        batch = info.data.get("batch")
        mixing = [each.name for each in batch.augment if each.soft_labels] if batch is not None else []
        if mixing and not value.soft_labels:
            takers = ", ".join(name for name, cls in parts("defense").items() if getattr(cls, "soft_labels", False))
            raise PydanticCustomError(
                "soft_labels",
                "{name} needs labels of one class, but {mixing} in batch.augment mixes them; leave it out, or use one of "
                "{takers}",
                {"name": value.name, "mixing": mixing[0], "takers": takers, "key": "name"},
            )
        return value

    @field_validator("schedule")
    @classmethod
    def _momentum_stays_one(cls, value: Schedule, info: ValidationInfo) -> Schedule:
        optimiser = info.data.get("optimiser")
        if optimiser is not None and not value.widest <= optimiser.inertia < 1 - value.widest:
            raise PydanticCustomError(
                "swing",
                "momentum_swing {swing} takes the optimiser's momentum of {inertia} out of 0 to 1",
                {"swing": value.widest, "inertia": optimiser.inertia, "key": "momentum_swing"},
            )
        return value

    @field_validator("curriculum")
    @classmethod
    def _has_what_to_change(cls, value: Curriculum | None, info: ValidationInfo) -> Curriculum | None:
        defense, schedule = info.data.get("defense"), info.data.get("schedule")
        if value is None or defense is None or schedule is None or "attack" not in info.data:
            return value
        value.check(schedule)
        attack = defense.attack_with(info.data["attack"])
        for scale, part, option in (("beta_scale", defense, "beta"), ("step_scale", attack, "step_size")):
            if scale in value.changed and option not in type(part).model_fields:
                raise ValueError(f"{scale} needs something to scale, but {part.kind} {part.name} has no {option}")
        return value

    @field_validator("checkpoints")
    @classmethod
    def _tune_part(cls, value: Checkpoints, info: ValidationInfo) -> Checkpoints:
        judge = info.data.get("judge")
        if judge is not None and judge.one_list and value.select == "best_robust":
            raise PydanticCustomError(
                "one_list",
                "select: best_robust needs validation images of its own, but judge.images.validation takes all of them; "
                "judge fewer images, hold out more, or select: last",
                {"key": "select"},
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: object) -> object:
        if not isinstance(value, dict | cls):
            raise PydanticCustomError("no_mapping", "must be a mapping with a key 'judge'")
        return value

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> TrialConfig:
        """Reads a trial from a YAML file.

        Raises:
            UserError: anything is wrong; one line with file, line, key and what is asked for.
        """
        document = Document.read(path)
        try:
            return cls.model_validate(document.value)
        except ValidationError as error:
            raise document.error(mistakes(error, cls)) from None

    @property
    def training_threat(self) -> Threat:
        """What is trained against."""
        return self.threat or self.judge.threat

    @property
    def training_attack(self) -> Attack:
        """The defense's published attack with the trial's own options put in."""
        return self.defense.attack_with(self.attack)

    def resolved(self) -> TrialConfig:
        """The same trial with every default written out."""
        return self.model_copy(update={"threat": self.training_threat, "attack": self.training_attack})

    def to_yaml(self) -> str:
        """The trial as YAML, every option written out; `TrialConfig.model_validate(yaml.safe_load(text))` reads it."""
        return yaml.safe_dump(self.resolved().model_dump(mode="json"), sort_keys=False)
