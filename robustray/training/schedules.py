"""Learning-rate schedules: pure functions of the optimiser step, so that resuming needs no state."""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.registry import Count, Part, Real, register


class Schedule(Part):
    """Length of training and learning rate at every step."""

    kind: ClassVar[str] = "schedule"
    default: ClassVar[str | None] = "one_cycle"
    epochs: Count = Field(30, ge=1, le=1_000_000, description="passes over the training images")
    lr: Real = Field(0.1, gt=0, description="the highest learning rate")
    warmup: Real = Field(
        0.0,
        ge=0,
        description="linear rise of the rate at the beginning: below 1 a fraction of training, from 1 on epochs",
    )

    @model_validator(mode="after")
    def _rises_in_time(self) -> Schedule:
        if self.warmup >= 1 and self.epochs <= self.warmup:
            raise PydanticCustomError(
                "warmup",
                "must end before training does: below 1, a fraction, or from 1 on so many of {epochs} epochs, not {warmup}",
                {"epochs": self.epochs, "warmup": self.warmup, "key": "warmup"},
            )
        return self

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """Learning rate at optimiser step 0 <= step < total, as a fraction of `lr`, warm-up apart."""

    def rate(self, step: int, total: int) -> float:
        """Learning rate at optimiser step 0 <= step < total: lr * factor * min(1, (step + 1) / W).

        W is the length of the warm-up (Goyal et al., 2017, arXiv:1706.02677), round(warmup * total) steps of a fraction and
        round(warmup * total / epochs) of epochs. It moves nothing else: milestones stay where they are, and a cosine is as
        far as without. That is torch's LinearLR from 1 / W over W - 1 steps, chained with the schedule.
        """
        return self.lr * self.factor(step, total) * min(1.0, (step + 1) / max(self.rising(total), 1))

    def rising(self, total: int) -> int:
        """Optimiser steps of the linear warm-up."""
        return round(self.warmup * total / (1 if self.warmup < 1 else self.epochs))

    def momentum_shift(self, step: int, total: int) -> float:
        """What is added to the optimiser's momentum at a step."""
        return 0.0

    @property
    def largest_momentum_shift(self) -> float:
        """The largest `momentum_shift` in either direction."""
        return 0.0

    @property
    def drops(self) -> tuple[float, ...]:
        """When the rate drops at once, as fractions of training; of the steps, those nearest to them."""
        return ()


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@register
class Constant(Schedule):
    """The same learning rate throughout."""

    name: Literal["constant"] = "constant"

    def factor(self, step: int, total: int) -> float:
        return 1.0


Milestones = Annotated[
    tuple[Annotated[Real, Field(gt=0, lt=1)], ...],
    Field(min_length=1, description="when the rate drops, as fractions of training"),
]


class Piecewise(Schedule):
    """Piecewise constant: the rate is multiplied by `drop` at every milestone, counted in optimiser steps.

    factor = drop^m, m the number of milestones f with step >= round(f * total).
    """

    milestones: Milestones
    drop: Real = Field(0.1, gt=0, le=1, description="what the rate is multiplied by at a milestone")

    @field_validator("milestones")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(later <= earlier for earlier, later in itertools.pairwise(value)):
            raise PydanticCustomError("order", "must be in ascending order, each once")
        return value

    def factor(self, step: int, total: int) -> float:
        return float(self.drop ** sum(step >= round(milestone * total) for milestone in self.milestones))

    @property
    def drops(self) -> tuple[float, ...]:
        return self.milestones


@register
class MultiStep(Piecewise):
    """Piecewise constant: factor = drop^m, m the number of milestones f with step >= round(f * total).

    The milestones of Stutz et al. (ICCV 2021): epochs 60, 90 and 120 of 150.
    """

    name: Literal["multi_step"] = "multi_step"
    milestones: Milestones = (0.4, 0.6, 0.8)


@register
class Late(Piecewise):
    """As `multi_step`, dropping at the very end (Stutz et al., ICCV 2021): at epochs 140 and 145 of 150."""

    name: Literal["late"] = "late"
    milestones: Milestones = (14 / 15, 29 / 30)


@register
class Cosine(Schedule):
    """Cosine annealing to zero (Loshchilov and Hutter, ICLR 2017): (1 + cos(pi * step / total)) / 2."""

    name: Literal["cosine"] = "cosine"

    def factor(self, step: int, total: int) -> float:
        return _cosine(1.0, 0.0, step / total)


@register
class Cyclic(Schedule):
    """Triangles from zero to the rate and back (Smith, WACV 2017; Wong et al., ICLR 2020), `cycles` of them.

    factor = 1 - |2 p - 1|,   p the fractional part of cycles * (step + 1) / (total + 1).
    """

    name: Literal["cyclic"] = "cyclic"
    cycles: Count = Field(1, ge=1, description="triangles in the whole of training")

    @model_validator(mode="after")
    def _fits(self) -> Cyclic:
        if self.cycles > self.epochs:
            raise PydanticCustomError(
                "cycles",
                "must be at most epochs, which is {epochs}, not {cycles}",
                {"epochs": self.epochs, "cycles": self.cycles, "key": "cycles"},
            )
        return self

    def factor(self, step: int, total: int) -> float:
        return 1 - abs(2 * (self.cycles * (step + 1) / (total + 1) % 1) - 1)


@register
class OneCycle(Schedule):
    """One cycle (Smith and Topin, 2018): cosine up over `warmup` of training, cosine down to (almost) zero after it.

    Equal to torch.optim.lr_scheduler.OneCycleLR with div_factor 25 and final_div_factor 10,000. There the momentum is
    cycled against the rate unless that is switched off, from 0.95 to 0.85 and back: here, a swing of 0.05 around 0.9.
    """

    name: Literal["one_cycle"] = "one_cycle"
    warmup: Real = Field(0.3, gt=0, lt=1, description="fraction of training in which the rate rises, by a cosine")
    momentum_swing: Real = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="how far the optimiser's momentum is above its value at the ends, below at the peak",
    )

    def factor(self, step: int, total: int) -> float:
        return self._annealed(step, total, 1 / 25, 1.0, 1 / 25 / 1e4)

    def rising(self, total: int) -> int:
        """None: its own rise is in its factor."""
        return 0

    def momentum_shift(self, step: int, total: int) -> float:
        most = self.momentum_swing
        return self._annealed(step, total, most, -most, most) if most else 0.0

    @property
    def largest_momentum_shift(self) -> float:
        return self.momentum_swing

    def _annealed(self, step: int, total: int, first: float, top: float, last: float) -> float:
        peak = self.warmup * total - 1
        if step < peak:  # at the peak itself the second branch says the same, also where the peak is step 0
            return _cosine(first, top, step / peak)
        return _cosine(top, last, (step - peak) / max(total - 1 - peak, 1e-9))
