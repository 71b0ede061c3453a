"""Pre-activation ResNet-34 for small images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class PreactResnet34(ConvNet):
    """Pre-activation ResNet-34 (He et al., ECCV 2016, arXiv:1603.05027) as adversarial training uses it on 32x32 pixels.

    `preact_resnet18` with 3, 4, 6 and 3 blocks in its stages. 21.28 M parameters on CIFAR-10.
    """

    name: Literal["preact_resnet34"] = "preact_resnet34"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first stage; 64 is published")

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.preactivation import preactivated

        stages = zip((1, 2, 4, 8), (3, 4, 6, 3), (1, 2, 2, 2), strict=True)
        return preactivated(
            channels,
            self.width,
            [(self.width * factor, number, stride) for factor, number, stride in stages],
            classes,
            act=self.activation,
            dropout=self.dropout,
            head_bias=self.head_bias,
            norm=self.norm,
        )
