"""ResNet-18 for small images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.activations import activation
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class Resnet18(ConvNet):
    """ResNet-18 (He et al., CVPR 2016, arXiv:1512.03385) with a 3x3 convolution at the start, for 32x32 pixels.

    Four stages of two blocks with `width`, 2, 4 and 8 times as many channels, each but the first at half the size; mean
    over pixels, one linear layer. 11.17 M parameters on CIFAR-10. Dropout lies after the second convolution of a block,
    before its batch norm. Convolutions are drawn with Kaiming's fan-out.

    Stutz et al. (ICCV 2021, arXiv:2104.04448) train it with `scales: around_one`, without which clipping weights
    to 0.005 would switch batch norm off, and with dropout of 0.1 where they have any.
    """

    name: Literal["resnet18"] = "resnet18"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first stage; 64 is published")
    scales: Literal["plain", "around_one"] = Field(
        "plain", description="around_one: batch norm scales by 1 + w, and decay and clipping act on w"
    )

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models._layers import around_one, blocks, convolution, drawn, head
        from robustray.models._residual import basic

        before = self.width
        layers: list[nn.Module] = [
            convolution(channels, before, 3),
            nn.BatchNorm2d(before),
            activation(self.activation),
        ]
        for filters, stride in blocks([(before, 2, 1), *((self.width * factor, 2, 2) for factor in (2, 4, 8))]):
            layers.append(basic(before, filters, stride, self.activation, self.dropout))
            before = filters
        network = drawn(nn.Sequential(*layers, *head(before, classes, self.head_bias)))
        return network if self.scales == "plain" else around_one(network)
