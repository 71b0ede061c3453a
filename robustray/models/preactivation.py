"""Residual networks that normalise and activate before they convolve."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from robustray.models._layers import Stage, blocks, convolution, drawn, head
from robustray.models.activations import ActivationName, activation
from robustray.models.convnet import NormName
from robustray.models.normalisation import normalisation


class PreActivation(nn.Module):
    """Two 3x3 convolutions, normalised and activated before each (He et al., ECCV 2016, arXiv:1603.05027).

    y = around + conv2(drop(act(norm2(conv1(a))))),   a = act(norm1(x)),

    around is x itself, or where shapes differ a 1x1 convolution of a. Dropout lies between the convolutions (Zagoruyko and
    Komodakis, BMVC 2016, arXiv:1605.07146).
    """

    def __init__(
        self, channels: int, filters: int, stride: int, act: ActivationName, dropout: float, norm: NormName = "bn"
    ) -> None:
        super().__init__()
        bias = norm == "none"
        self.first = nn.Sequential(normalisation(norm, channels), activation(act))
        self.inner = nn.Sequential(
            convolution(channels, filters, 3, stride, bias=bias),
            normalisation(norm, filters),
            activation(act),
            nn.Dropout(dropout),
            convolution(filters, filters, 3, bias=bias),
        )
        same = stride == 1 and channels == filters
        self.around = None if same else convolution(channels, filters, 1, stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        y: Tensor = self.inner(a) + (x if self.around is None else self.around(a))
        return y


def preactivated(
    channels: int,
    stem: int,
    stages: Sequence[Stage],
    classes: int,
    *,
    act: ActivationName,
    dropout: float,
    head_bias: bool,
    norm: NormName = "bn",
) -> nn.Sequential:
    """A 3x3 convolution to `stem` channels, the stages' blocks, normalisation, activation, and the head."""
    layers: list[nn.Module] = [convolution(channels, stem, 3, bias=norm == "none")]
    before = stem
    for filters, stride in blocks(stages):
        layers.append(PreActivation(before, filters, stride, act, dropout, norm))
        before = filters
    last = [normalisation(norm, before), activation(act)]
    return drawn(nn.Sequential(*layers, *last, *head(before, classes, head_bias)))
