"""Averages of weights over training."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from robustray.registry import Part, Real, register


class Averaging(Part):
    """A running average of the weights; the average is what is validated, selected and judged.

    average = d * average + (1 - d) * weights after every optimiser step, with d from `decay_at`. Buffers are copied from
    the model, never shared with it, unless a rule estimates them anew.
    """

    kind: ClassVar[str] = "averaging"
    default: ClassVar[str | None] = "ema"

    @property
    def estimates(self) -> bool:
        """Whether batch norm's statistics are estimated anew before the average is used."""
        return False

    @abstractmethod
    def decay_at(self, step: int) -> float:
        """The decay d at optimiser step 1, 2, ... (counted after the step). Zero copies the weights."""


@register
class NoAveraging(Averaging):
    """The weights themselves."""

    name: Literal["none"] = "none"

    def decay_at(self, step: int) -> float:
        return 0.0


@register
class Ema(Averaging):
    """Exponential moving average with warm-up (Gowal et al., 2020, arXiv:2010.03593).

    d_t = 0 for t < W, else min(decay, (1 + t - W) / (10 + t - W)), with t the optimiser step and W = `warmup`.

    The running statistics of batch norm belong to the model's weights, not to their average. They are copied as they are,
    as Gowal et al. do, or estimated before the average is validated or stored (Izmailov et al., UAI 2018): means over
    batches of the training images as they are, at 1 pass per training image where the model has batch norm.
    """

    name: Literal["ema"] = "ema"
    decay: Real = Field(0.995, ge=0, lt=1, description="decay per optimiser step")
    warmup: Real = Field(0, ge=0, description="optimiser steps during which the average is a copy of the weights")
    buffers: Literal["copy", "estimate"] = Field(
        "copy", description="batch norm's statistics: the model's, or estimated over the training images"
    )

    @property
    def estimates(self) -> bool:
        return self.buffers == "estimate"

    def decay_at(self, step: int) -> float:
        elapsed = step - self.warmup
        return 0.0 if elapsed < 0 else min(self.decay, (1 + elapsed) / (10 + elapsed))
