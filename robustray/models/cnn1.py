"""The smaller network for MNIST of Yang et al. (2020)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.base import Architecture
from robustray.registry import Real, register


@register
class Cnn1(Architecture):
    """CNN1 of Yang et al. (NeurIPS 2020, arXiv:2003.02460) for MNIST: two convolutions, two linear layers.

    3x3 to 32 channels, ReLU, 3x3 to 64, 2x2 maximum, dropout of whole channels, 128 units, ReLU, dropout, classes; nothing
    is padded. 1.20 M parameters on 28x28 pixels. Weights are drawn as PyTorch's layers do, as published.
    """

    name: Literal["cnn1"] = "cnn1"
    dropout: Real = Field(0.5, ge=0, lt=1, description="probability that one of the 128 units is dropped")
    channel_dropout: Real = Field(0.25, ge=0, lt=1, description="probability that one of the 64 channels is dropped")

    smallest: ClassVar[int] = 6

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, 32, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3),
            nn.MaxPool2d(2),
            nn.Dropout2d(self.channel_dropout),
            nn.Flatten(),
            nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(128, classes),
        )
