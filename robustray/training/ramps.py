"""A curriculum of straight lines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from robustray.registry import Options, Real, register
from robustray.training.curricula import Amounts, Curriculum, Moment


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


_BOUNDS = {"eps_scale": (0, 1), "step_scale": (0.001, 100), "beta_scale": (0, 100), "rotation": (0, 180),
           "translation": (0, 1000)}  # fmt: skip


@register
class Ramps(Curriculum):
    """Straight lines, each between its own ends, from batch to batch."""

    name: Literal["ramps"] = "ramps"
    eps_scale: Ramp | None = Field(Ramp(first=0, last=1), description="fraction of the threat's eps; null: all of it")
    step_scale: Ramp | None = Field(None, description="times the attack's step_size")
    beta_scale: Ramp | None = Field(None, description="times the defense's beta")
    rotation: Ramp | None = Field(None, description="largest rotation in degrees, to either side")
    translation: Ramp | None = Field(None, description="largest translation in pixels, in each direction")

    @field_validator(*_BOUNDS)
    @classmethod
    def _bounded(cls, value: Ramp | None, info: ValidationInfo) -> Ramp | None:
        least, most = _BOUNDS[info.field_name or ""]
        if value is not None and not all(least <= end <= most for end in (value.first, value.last)):
            raise PydanticCustomError("ramp", "must stay between {least} and {most}", {"least": least, "most": most})
        return value

    def at(self, moment: Moment) -> Amounts:
        progress = moment.step / max(moment.total - 1, 1)
        return Amounts(**{name: getattr(self, name).at(progress) for name in self.changed})

    @property
    def changed(self) -> frozenset[str]:
        return frozenset(name for name in _BOUNDS if getattr(self, name) is not None)
