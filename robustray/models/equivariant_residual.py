"""Residual networks of layers that turn and mirror with the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from robustray.models._layers import Stage, blocks
from robustray.models.activations import ActivationName, activation
from robustray.models.equivariant import GROUPS, Blur, GroupBatchNorm, GroupConv, GroupMean, GroupName, OddSides

Downsampling = Literal["odd", "blur", "strided"]
Head = Literal["pool", "flatten"]


class GroupResidual(nn.Module):
    """y = act(around(x) + inner(x)) of feature maps: `robustray.models.resnet18`'s block with convolutions of a group.

    At half the size the first convolution and the shortcut's have stride 2, after `OddSides` if the downsampling is odd; or
    both are read through `Blur`, the convolution at full size before its activation is, as Zhang (2019) has it.
    """

    def __init__(
        self,
        group: GroupName,
        channels: int,
        filters: int,
        stride: int,
        act: ActivationName,
        dropout: float,
        downsampling: Downsampling,
    ) -> None:
        super().__init__()
        blurs = stride == 2 and downsampling == "blur"
        step = 1 if blurs else stride
        self.before = OddSides() if stride == 2 and downsampling == "odd" else nn.Identity()
        self.inner = nn.Sequential(
            GroupConv(group, channels, filters, 3, step),
            GroupBatchNorm(filters),
            activation(act),
            *([Blur()] if blurs else []),
            GroupConv(group, filters, filters, 3),
            nn.Dropout(dropout),
            GroupBatchNorm(filters),
        )
        same = stride == 1 and channels == filters
        self.around = (
            nn.Identity()
            if same
            else nn.Sequential(
                *([Blur()] if blurs else []), GroupConv(group, channels, filters, 1, step), GroupBatchNorm(filters)
            )
        )
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        y: Tensor = self.act(self.inner(x) + self.around(x))
        return y


def group_residual(
    group: GroupName,
    channels: int,
    stages: Sequence[Stage],
    classes: int,
    *,
    act: ActivationName,
    dropout: float,
    head_bias: bool,
    downsampling: Downsampling,
    head: Head,
) -> nn.Sequential:
    """A 3x3 convolution that lifts images to the first stage's channels, the stages' blocks, and the head."""
    before = stages[0][0]
    layers: list[nn.Module] = [
        GroupConv(group, channels, before, 3, lifts=True),
        GroupBatchNorm(before),
        activation(act),
    ]
    for filters, stride in blocks(stages):
        layers.append(GroupResidual(group, before, filters, stride, act, dropout, downsampling))
        before = filters
    pooled: list[nn.Module] = [GroupMean(before)] if head == "pool" else [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    last = nn.Linear(before if head == "pool" else before * len(GROUPS[group]), classes, bias=head_bias)
    if head_bias:
        nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, *pooled, last)
