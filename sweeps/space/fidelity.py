"""`fidelity` in a search space: how a first, cheap look is taken at every setting, before its training begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from robustray.attacks.base import Attack
from robustray.attacks.pgd import StepSize
from robustray.options.mistakes import mistakes
from robustray.options.yaml import dotted, show
from robustray.registry import Options, Real
from robustray.training.schedules import Cyclic, Schedule
from robustray.trial import Batch, Checkpoints, TrialConfig

A = TypeVar("A", bound=Attack)
_OR = "below 1 a share of the trial's own, from 1 on a number"


class Fidelity(Options):
    """A look at a setting: the trial trained from scratch with less of everything that costs, and measured as it ends. Only
    settings that a policy goes on with are trained as the space says, from scratch once more.
    """

    images: Real | None = Field(
        None, gt=0, description=f"training images, classes in proportion; {_OR}; null: the trial's"
    )
    epochs: Real | None = Field(
        None, gt=0, description=f"epochs, the schedule being squeezed; {_OR}; null: the trial's"
    )
    attack_steps: Real | None = Field(
        None,
        gt=0,
        description=f"steps of the training attack, longer ones where they are fewer; {_OR}; null: the trial's",
    )
    cheap_steps: Real | None = Field(
        None, gt=0, description=f"steps of judge.cheap, by which a look is measured; {_OR}; null: the judge's"
    )

    @field_validator("*")
    @classmethod
    def _share_or_number(cls, value: float | None) -> float | None:
        if value is not None and value >= 1 and value != int(value):
            raise ValueError(f"takes a share below 1, or a whole number, not {show(value)}")
        return value

    @model_validator(mode="after")
    def _something(self) -> Fidelity:
        if self.said == {}:
            raise ValueError("says nothing that is cheaper: give images, epochs, attack_steps or cheap_steps")
        return self

    @property
    def said(self) -> dict[str, float]:
        """What is less, by name."""
        return {name: value for name, value in self if value is not None}

    def described(self) -> str:
        """`30 % of images, 1 attack step`: in words."""
        return ", ".join(_words(name.replace("_", " "), value) for name, value in self.said.items())

    def look(self, trial: TrialConfig) -> TrialConfig:
        """The training that is a look at a trial: the same options and seed, validated once, as it ends.

        Where an attack has fewer steps, each is longer, at most eps, so that it gets as far. Warm-ups that are told in epochs
        keep their share of training.

        Raises:
            ValidationError: what is left makes no trial; `objection` says so in words.
        """
        attack = None if trial.ignores(("attack",)) else self._fewer(trial.training_attack, self.attack_steps)
        judge = trial.judge.model_copy(
            update={"cheap": self._fewer(trial.judge.cheap, self.cheap_steps), "spatial": None}
        )
        schedule = _squeezed(trial.schedule, _some(self.epochs, trial.schedule.epochs))
        made = trial.model_copy(
            update={
                "judge": judge,
                "batch": self._drawn(trial.batch),
                "attack": attack,
                "schedule": schedule,
                "checkpoints": Checkpoints(
                    validate_every=schedule.epochs, collapse=trial.collapse, minutes=trial.checkpoints.minutes
                ),
            }
        )
        return TrialConfig.loose(made.model_dump(mode="json"))  # what was put in is checked like what was read

    def objection(self, trials: Sequence[TrialConfig]) -> str | None:
        """Why no look can be taken at one of the trials; None where it can at all of them."""
        for trial in trials:
            try:
                found = {dotted(keys): what for keys, what in self.look(trial).objections().items()}
            except ValidationError as error:
                found = {dotted(keys): what for keys, what in mistakes(error, TrialConfig).items()}
            for key, what in found.items():
                return f"a look at {self.described()} makes no trial: {key} {what}"
        return None

    def _drawn(self, batch: Batch) -> Batch:
        own, wanted = batch.images, self.images
        if wanted is None:
            return batch
        if own is not None and wanted < 1:
            wanted = wanted * own if own < 1 else float(max(1, round(wanted * own)))
        return batch.model_copy(update={"images": wanted})

    def _fewer(self, attack: A, wanted: float | None) -> A:
        """An attack with fewer steps; as it is where it has none to count."""
        own = getattr(attack, "steps", None)
        if wanted is None or not isinstance(own, int) or (steps := _some(wanted, own)) >= own:
            return attack
        changes: dict[str, Any] = {"steps": steps}
        size = getattr(attack, "step_size", None)
        if isinstance(size, StepSize):
            changes["step_size"] = _longer(size, own / steps)
        return attack.model_copy(update=changes)


def _words(name: str, value: float) -> str:
    if value < 1:
        return f"{100 * value:g} % of {name}"
    return f"{value:g} {name.removesuffix('s') if value == 1 else name}"


def _some(wanted: float | None, own: int) -> int:
    """So much of a number: at least 1, and no more than it is."""
    if wanted is None:
        return own
    return max(1, min(own, round(wanted * own) if wanted < 1 else int(wanted)))


def _longer(size: StepSize, times: float) -> StepSize:
    """So many times a step, but at most eps where it is told by eps and was not beyond it."""
    if size.of_eps is None:
        return size.scaled(times)
    return StepSize(of_eps=max(size.of_eps, min(1.0, times * size.of_eps)))


def _squeezed(schedule: Schedule, epochs: int) -> Schedule:
    """The same schedule over fewer epochs."""
    changes: dict[str, Any] = {"epochs": epochs}
    if schedule.warmup >= 1:  # epochs: told as the share of training that they are
        changes["warmup"] = schedule.warmup / schedule.epochs
    if isinstance(schedule, Cyclic):
        changes["cycles"] = min(schedule.cycles, epochs)
    return schedule.model_copy(update=changes)
