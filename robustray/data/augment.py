"""Augmentation on the device, drawn anew for every image of a batch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from robustray.registry import Count, Part, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Augmentation(Part):
    """Changes a batch of images x [B, C, H, W] in [0, 1], one independent draw per image."""

    kind: ClassVar[str] = "augmentation"

    @abstractmethod
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented batch, [B, C, H, W], in [0, 1]."""


@register
class Crop(Augmentation):
    """Pads with black and cuts a window of the original size at a place drawn per image."""

    name: Literal["crop"] = "crop"
    padding: Count = Field(4, ge=1, description="pixels of padding on every side")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        import torch
        import torch.nn.functional as F

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
        import torch

        mirrored = torch.rand(len(x), generator=generator, device=x.device) < 0.5
        return torch.where(mirrored[:, None, None, None], x.flip(-1), x)
