"""VGG-16 with batch norm for small images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.activations import activation
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class Vgg16(ConvNet):
    """VGG-16 (Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556) with batch norm and one linear layer, for 32x32 pixels.

    2, 2, 3, 3 and 3 3x3 convolutions with `width`, 2, 4, 8 and 8 times as many channels, each group followed by a 2x2
    maximum; mean over pixels, dropout, one linear layer. 14.72 M parameters on CIFAR-10. Convolutions are drawn with
    Kaiming's fan-out. The network of Kamath et al. (NeurIPS 2021, arXiv:2002.11318), who call it StdCNN.
    """

    name: Literal["vgg16"] = "vgg16"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first group; 64 is published")

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models._layers import convolution, drawn, head
        from robustray.models.normalisation import normalisation

        layers: list[nn.Module] = []
        before = channels
        for factor, number in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(number):
                filters = self.width * factor
                layers.append(convolution(before, filters, 3, bias=self.norm == "none"))
                layers += [normalisation(self.norm, filters), activation(self.activation)]
                before = filters
            layers.append(nn.MaxPool2d(2, ceil_mode=True))  # of an odd size as well, down to one pixel
        pool, flatten, linear = head(before, classes, self.head_bias)
        return drawn(nn.Sequential(*layers, pool, flatten, nn.Dropout(self.dropout), linear))
