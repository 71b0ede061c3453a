"""A plugin of `search_images.yaml`: a pre-activation ResNet that one CPU core trains in seconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class PreactResnet10(ConvNet):
    """PreActResNet-18 (He et al., ECCV 2016, arXiv:1603.05027) with one block in each of its four stages in place of two, and
    with half the size from the first stage on: the planes of 32x32 pixels are 16, 8, 4 and 2 pixels wide.
    """

    name: Literal["preact_resnet10"] = "preact_resnet10"
    width: Count = Field(
        8, ge=1, le=4096, description="channels of the first stage; the others have 2, 4 and 8 times as many"
    )

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.preactivation import preactivated

        return preactivated(
            channels,
            self.width,
            [(self.width * factor, 1, 2) for factor in (1, 2, 4, 8)],
            classes,
            act=self.activation,
            dropout=self.dropout,
            head_bias=self.head_bias,
            norm=self.norm,
        )
