"""Pre-activation ResNet-18 for small images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class PreactResnet18(ConvNet):
    """Pre-activation ResNet-18 (He et al., ECCV 2016, arXiv:1603.05027) as adversarial training uses it on 32x32 pixels.

    A 3x3 convolution; four stages of two blocks with `width`, 2, 4 and 8 times as many channels, each but the first at half
    the size; batch norm, activation; mean over pixels, one linear layer. 11.17 M parameters on CIFAR-10. Dropout lies
    between the two convolutions of a block. Convolutions are drawn with Kaiming's fan-out.

    The network of Rice et al. (ICML 2020) and Pang et al. (ICML 2022), with batch norm before the mean. That of Rebuffi et
    al. (2021, arXiv:2103.01946) is `deepmind_preact_resnet`.
    """

    name: Literal["preact_resnet18"] = "preact_resnet18"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first stage; 64 is published")

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.preactivation import preactivated

        return preactivated(
            channels,
            self.width,
            [(self.width, 2, 1), *((self.width * factor, 2, 2) for factor in (2, 4, 8))],
            classes,
            act=self.activation,
            dropout=self.dropout,
            head_bias=self.head_bias,
            norm=self.norm,
        )
