"""What convolutional networks begin and end with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

Stage = tuple[int, int, int]
"""Filters, number of blocks, and the stride of the first one."""


def convolution(channels: int, filters: int, size: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A convolution that keeps the image's size but for its stride; biases are for those that nothing normalises."""
    return nn.Conv2d(channels, filters, size, stride, padding=size // 2, bias=bias)


def blocks(stages: Sequence[Stage]) -> Iterator[tuple[int, int]]:
    """(filters, stride) of every block in turn."""
    for filters, number, stride in stages:
        yield from ((filters, 1 if block else stride) for block in range(number))


def head(features: int, classes: int, bias: bool) -> list[nn.Module]:
    """[B, features, height, width] to logits [B, classes]: the mean over pixels, then one linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, classes, bias=bias)]


def drawn(network: nn.Sequential) -> nn.Sequential:
    """The network with weights as `ConvNet` says, from torch's global generator."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    return network
