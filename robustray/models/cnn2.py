"""The larger network for MNIST of Yang et al. (2020), which is that of TRADES."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.base import Architecture
from robustray.registry import Real, register


@register
class Cnn2(Architecture):
    """CNN2 of Yang et al. (NeurIPS 2020, arXiv:2003.02460) for MNIST, the small CNN of TRADES: four convolutions, three layers.

    Twice two 3x3 convolutions with ReLU, to 32 and to 64 channels, each pair followed by a 2x2 maximum; 200 units, ReLU,
    dropout, 200 units, ReLU, classes; nothing is padded. 0.31 M parameters on 28x28 pixels. Convolutions are drawn from
    N(0, 2 / (k^2 * in)), Kaiming's fan-in, as published, with biases of 0. The last layer starts at 0 there: every logit is
    then 0, and the first batch's attack has no gradient to follow. Here it is drawn as PyTorch's linear layers are.
    """

    name: Literal["cnn2"] = "cnn2"
    dropout: Real = Field(0.5, ge=0, lt=1, description="probability that one of the first 200 units is dropped")

    smallest: ClassVar[int] = 16

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        rows, columns = (((size - 4) // 2 - 4) // 2 for size in (height, width))
        layers: list[nn.Module] = []
        for before, filters in ((channels, 32), (32, 64)):
            layers += [nn.Conv2d(before, filters, 3), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(filters, filters, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        for layer in layers:
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        return nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(64 * rows * columns, 200),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(200, 200),
            nn.ReLU(inplace=True),
            nn.Linear(200, classes),
        )
