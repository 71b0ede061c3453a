"""A small convolutional network for small images."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.base import Architecture
from robustray.registry import Count, Real, register


@register
class SmallCnn(Architecture):
    """Two 3x3 convolutions (width, then 2 * width channels at half size), ReLU, dropout, one linear layer."""

    name: Literal["small_cnn"] = "small_cnn"
    width: Count = Field(16, ge=1, le=1024, description="channels of the first convolution")
    dropout: Real = Field(0.0, ge=0, lt=1, description="probability that a feature is dropped before the linear layer")

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.tiny_conv import TinyConv2d

        features = 2 * self.width * ((height + 1) // 2) * ((width + 1) // 2)
        return nn.Sequential(
            TinyConv2d(channels, self.width, 3, padding=1),
            nn.ReLU(),
            TinyConv2d(self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(self.dropout),
            nn.Linear(features, classes),
        )
