"""Rotation and translation of images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import Tensor, torch
from robustray.data import affine
from robustray.data.augment import Augmentation
from robustray.registry import Options, Real, register


class Resampling(Options):
    """How pixels are found that lie between or outside those of an image."""

    interpolation: Literal["bilinear", "nearest"] = Field("bilinear", description="value between pixels")
    fill: Literal["zeros", "reflect"] = Field("zeros", description="what lies outside: black, or the mirror image")


class Spatial(Augmentation):
    """An augmentation that moves pixels."""

    resampling: Resampling = Field(Resampling(), description="how pixels are found between and outside those there are")


@register
class Rotation(Spatial):
    """Turns by an angle uniform in [-degrees, degrees] about the centre, drawn per image."""

    name: Literal["rotation"] = "rotation"
    degrees: Real = Field(15, gt=0, le=180, description="largest angle to either side")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        angle = affine.uniform(x, self.degrees, (), generator)
        how = self.resampling
        return affine.turned(x, angle, x.new_zeros(len(x), 2), how.interpolation, how.fill)


@register
class Translation(Spatial):
    """Moves by distances uniform in [-pixels, pixels], right and down, drawn per image; fractions of a pixel as well."""

    name: Literal["translation"] = "translation"
    pixels: Real = Field(2, gt=0, le=1000, description="largest distance in each direction")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        shift = affine.uniform(x, self.pixels, (2,), generator)
        how = self.resampling
        return affine.turned(x, x.new_zeros(len(x)), shift, how.interpolation, how.fill)
