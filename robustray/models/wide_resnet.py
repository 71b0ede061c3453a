"""Wide residual networks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray._later import nn
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class WideResnet(ConvNet):
    """Wide residual network WRN-depth-width (Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146) for small images.

    A 3x3 convolution to 16 channels; three stages of n = (depth - 4) / 6 pre-activation blocks with 16, 32 and 64 times
    `width` channels, the second and third at half the size; batch norm, activation; mean over pixels, one linear layer.
    Dropout lies between the two convolutions of a block. Convolutions are drawn with Kaiming's fan-out. On CIFAR-10
    WRN-28-10 has 36.48 M parameters, WRN-34-10 46.16 M, WRN-70-16 266.80 M.

    Gowal et al. (2020, arXiv:2010.03593) and those after them use Swish and pad strided convolutions on two sides only:
    `deepmind_wide_resnet`.
    """

    name: Literal["wide_resnet"] = "wide_resnet"
    depth: Count = Field(28, ge=10, le=1000, description="layers with weights: 6n + 4, so 10, 16, 22, 28, 34, 40, ...")
    width: Count = Field(10, ge=1, le=256, description="factor on 16, 32 and 64 channels")

    @field_validator("depth")
    @classmethod
    def _whole_blocks(cls, value: int) -> int:
        over = (value - 4) % 6
        if over:
            raise PydanticCustomError(
                "depth",
                "must be 6n + 4, since three stages have n blocks of two layers; {below} or {above}, not {depth}",
                {"below": value - over, "above": value - over + 6, "depth": value},
            )
        return value

    @property
    def stages(self) -> list[tuple[int, int, int]]:
        """Channels, blocks and stride of each stage."""
        blocks = (self.depth - 4) // 6
        return [(filters * self.width, blocks, stride) for filters, stride in ((16, 1), (32, 2), (64, 2))]

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.preactivation import preactivated

        return preactivated(
            channels,
            16,
            self.stages,
            classes,
            act=self.activation,
            dropout=self.dropout,
            head_bias=self.head_bias,
            norm=self.norm,
        )
