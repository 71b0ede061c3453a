"""Learning-rate schedules: pure functions of the optimiser step, so that resuming needs no state."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from robustray.registry import Count, Part, Real, register


class Schedule(Part):
    """Length of training and learning rate at every step."""

    kind: ClassVar[str] = "schedule"
    default: ClassVar[str | None] = "one_cycle"
    epochs: Count = Field(30, ge=1, le=1_000_000, description="passes over the training images")
    lr: Real = Field(0.1, gt=0, description="the highest learning rate")

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """Learning rate at optimiser step 0 <= step < total, as a fraction of `lr`."""


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@register
class Cosine(Schedule):
    """Cosine annealing to zero (Loshchilov and Hutter, ICLR 2017): (1 + cos(pi * step / total)) / 2."""

    name: Literal["cosine"] = "cosine"

    def factor(self, step: int, total: int) -> float:
        return _cosine(1.0, 0.0, step / total)


@register
class OneCycle(Schedule):
    """One cycle (Smith and Topin, 2018): cosine up over `warmup` of training, cosine down to (almost) zero after it.

    Equal to torch.optim.lr_scheduler.OneCycleLR with div_factor 25 and final_div_factor 10,000; momentum stays.
    """

    name: Literal["one_cycle"] = "one_cycle"
    warmup: Real = Field(0.3, gt=0, lt=1, description="fraction of training in which the rate rises")

    def factor(self, step: int, total: int) -> float:
        first, last = 1 / 25, 1 / 25 / 1e4
        peak = self.warmup * total - 1
        if step < peak:  # at the peak itself the second branch says 1 as well, also where the peak is step 0
            return _cosine(first, 1.0, step / peak)
        return _cosine(1.0, last, (step - peak) / max(total - 1 - peak, 1e-9))
