"""The networks that others' published weights belong to, with the names of their layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from robustray.models._layers import Stage, convolution, drawn
from robustray.models.activations import ActivationName, activation

MOMENTUM = 0.01
"""Share of a batch in batch norm's running statistics; 0.1 is PyTorch's."""


class SameConv(nn.Conv2d):
    """A 3x3 convolution padded as TensorFlow's `SAME`: with stride 2, even sides get their zeros on the right and below."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__(channels, filters, 3, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = ((1, 1) if self.stride == (1, 1) or side % 2 else (0, 1) for side in x.shape[-2:])
        return super().forward(F.pad(x, (*width, *height)))


class DeepmindBlock(nn.Module):
    """`robustray.models.preactivation`'s block as in the wide networks of Gowal et al. (2020)."""

    def __init__(self, channels: int, filters: int, stride: int, act: ActivationName, dropout: float) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels, momentum=MOMENTUM)
        self.relu_0 = activation(act)
        self.conv_0 = SameConv(channels, filters, stride)
        self.batchnorm_1 = nn.BatchNorm2d(filters, momentum=MOMENTUM)
        self.relu_1 = activation(act)
        self.dropout = nn.Dropout(dropout)
        self.conv_1 = convolution(filters, filters, 3)
        self.shortcut = None if channels == filters else convolution(channels, filters, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu_0(self.batchnorm_0(x))
        inner = self.conv_1(self.dropout(self.relu_1(self.batchnorm_1(self.conv_0(a)))))
        y: Tensor = inner + (x if self.shortcut is None else self.shortcut(a))
        return y


class DeepmindPreactBlock(nn.Module):
    """The block of Rebuffi et al. (2021): the shortcut is a 3x3 convolution of x itself, before batch norm."""

    def __init__(self, channels: int, filters: int, stride: int, act: ActivationName, dropout: float) -> None:
        super().__init__()
        self.batchnorm_0 = nn.BatchNorm2d(channels, momentum=MOMENTUM)
        self.relu_0 = activation(act)
        self.conv_2d_1 = SameConv(channels, filters, stride)
        self.batchnorm_1 = nn.BatchNorm2d(filters, momentum=MOMENTUM)
        self.relu_1 = activation(act)
        self.dropout = nn.Dropout(dropout)
        self.conv_2d_2 = convolution(filters, filters, 3)
        self.shortcut = None if stride == 1 and channels == filters else SameConv(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv_2d_1(self.relu_0(self.batchnorm_0(x)))
        inner = self.conv_2d_2(self.dropout(self.relu_1(self.batchnorm_1(inner))))
        y: Tensor = inner + (x if self.shortcut is None else self.shortcut(x))
        return y


def wide(
    channels: int, stages: Sequence[Stage], classes: int, *, act: ActivationName, dropout: float, head_bias: bool
) -> nn.Sequential:
    """A 3x3 convolution to 16 channels, the stages, batch norm, activation, the mean over pixels, and `logits`."""
    groups = _groups(DeepmindBlock, 16, stages, act, dropout)
    named = [nn.Sequential(OrderedDict(block=group)) for group in groups]
    layers: list[tuple[str, nn.Module]] = [
        ("init_conv", convolution(channels, 16, 3)),
        ("layer", nn.Sequential(*named)),
    ]
    return _with_head(layers, stages[-1][0], classes, act, head_bias)


def preactivated(
    channels: int, stages: Sequence[Stage], classes: int, *, act: ActivationName, dropout: float, head_bias: bool
) -> nn.Sequential:
    """A 3x3 convolution to the first stage's channels, the stages, batch norm, activation, the mean over pixels, `logits`."""
    stem = stages[0][0]
    groups = _groups(DeepmindPreactBlock, stem, stages, act, dropout)
    layers: list[tuple[str, nn.Module]] = [("conv_2d", convolution(channels, stem, 3))]
    layers += [(f"layer_{number}", group) for number, group in enumerate(groups)]
    return _with_head(layers, stages[-1][0], classes, act, head_bias)


def _groups(
    block: type[DeepmindBlock | DeepmindPreactBlock],
    before: int,
    stages: Sequence[Stage],
    act: ActivationName,
    dropout: float,
) -> list[nn.Sequential]:
    groups = []
    for filters, number, stride in stages:
        first = block(before, filters, stride, act, dropout)
        groups.append(nn.Sequential(first, *(block(filters, filters, 1, act, dropout) for _ in range(number - 1))))
        before = filters
    return groups


def _with_head(
    layers: list[tuple[str, nn.Module]], features: int, classes: int, act: ActivationName, head_bias: bool
) -> nn.Sequential:
    head = [
        ("batchnorm", nn.BatchNorm2d(features, momentum=MOMENTUM)),
        ("relu", activation(act)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("logits", nn.Linear(features, classes, bias=head_bias)),
    ]
    return drawn(nn.Sequential(OrderedDict([*layers, *head])))
