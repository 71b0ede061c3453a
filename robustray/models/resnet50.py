"""ResNet-50 for images of 64x64 pixels and more."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.activations import activation
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class Resnet50(ConvNet):
    """ResNet-50 (He et al., CVPR 2016, arXiv:1512.03385): torchvision's network, with dropout.

    A 7x7 convolution and a 3x3 maximum, each at half the size; stages of 3, 4, 6 and 3 bottlenecks with 4, 8, 16 and 32 times
    `width` channels, each but the first at half the size; mean over pixels, one linear layer. 23.53 M parameters with
    nine classes. Dropout lies after the 3x3 convolution of every bottleneck and its activation; Yang et al. (NeurIPS 2020,
    arXiv:2003.02460) leave the first one of each stage out. Convolutions are drawn with Kaiming's fan-out.
    """

    name: Literal["resnet50"] = "resnet50"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first convolution; 64 is published")

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models._layers import blocks, convolution, drawn, head
        from robustray.models._residual import bottleneck
        from robustray.models.normalisation import normalisation

        before = self.width
        layers: list[nn.Module] = [
            convolution(channels, before, 7, 2, bias=self.norm == "none"),
            normalisation(self.norm, before),
            activation(self.activation),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        plan = ((4, 3, 1), (8, 4, 2), (16, 6, 2), (32, 3, 2))
        for filters, stride in blocks([(self.width * factor, number, stride) for factor, number, stride in plan]):
            layers.append(bottleneck(before, filters, stride, self.activation, self.dropout, self.norm))
            before = filters
        return drawn(nn.Sequential(*layers, *head(before, classes, self.head_bias)))
