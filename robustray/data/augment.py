"""Augmentation on the device, drawn anew for every image of a batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import F, Tensor, torch
from robustray.data._boxes import inside
from robustray.registry import Count, Part, Real, register


class Augmentation(Part):
    """Changes a batch of images x [B, C, H, W] in [0, 1], one independent draw per image."""

    kind: ClassVar[str] = "augmentation"
    soft_labels: ClassVar[bool] = False  # whether it mixes labels, which are probabilities then

    @abstractmethod
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented batch, [B, C, H, W], in [0, 1]."""

    def labelled(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The augmented batch with its labels: y [B], or probabilities [B, K], which those with `soft_labels` need."""
        return self(x, generator), y


@register
class Crop(Augmentation):
    """Pads with black and cuts a window of the original size at a place drawn per image."""

    name: Literal["crop"] = "crop"
    padding: Count = Field(4, ge=1, description="pixels of padding on every side")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = x.shape
        padded = F.pad(x, (self.padding,) * 4)
        draw = torch.randint(0, 2 * self.padding + 1, (2, batch, 1), generator=generator, device=x.device)
        rows = draw[0] + torch.arange(height, device=x.device)
        columns = draw[1] + torch.arange(width, device=x.device)
        image = torch.arange(batch, device=x.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


@register
class Flip(Augmentation):
    """Mirrors left and right with probability one half, drawn per image."""

    name: Literal["flip"] = "flip"

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


@register
class Cutout(Augmentation):
    """A square hole (DeVries and Taylor, 2017, arXiv:1708.04552), its centre at any pixel, drawn per image.

    What would lie outside the image is lost. The authors fill it with the mean pixel, which a middle grey comes near.
    """

    name: Literal["cutout"] = "cutout"
    size: Count = Field(16, ge=1, le=10_000, description="side of the hole in pixels")
    fill: Real = Field(0.5, ge=0, le=1, description="value of the pixels in the hole")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        batch, _, height, width = x.shape
        centre = torch.rand(2, batch, generator=generator, device=x.device)
        size = torch.full((batch,), float(self.size), device=x.device)
        rows = inside((centre[0] * height).floor(), size, height)
        columns = inside((centre[1] * width).floor(), size, width)
        return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], self.fill)
