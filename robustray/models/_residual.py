"""Residual networks that activate after every sum."""

from __future__ import annotations

from torch import Tensor, nn

from robustray.models._layers import convolution
from robustray.models.activations import ActivationName, activation
from robustray.models.convnet import NormName
from robustray.models.normalisation import normalisation


class Residual(nn.Module):
    """y = act(around(x) + inner(x)) (He et al., CVPR 2016, arXiv:1512.03385).

    around is x itself, or where shapes differ a 1x1 convolution with normalisation.

    Args:
        inner: layers from `channels` channels to `filters`, at 1 / `stride` of the size.
    """

    def __init__(
        self, inner: nn.Module, channels: int, filters: int, stride: int, act: ActivationName, norm: NormName = "bn"
    ) -> None:
        super().__init__()
        self.inner = inner
        same = stride == 1 and channels == filters
        self.around = (
            nn.Identity()
            if same
            else nn.Sequential(
                convolution(channels, filters, 1, stride, bias=norm == "none"), normalisation(norm, filters)
            )
        )
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.inner(x) + self.around(x))
        return y


def basic(
    channels: int, filters: int, stride: int, act: ActivationName, dropout: float, norm: NormName = "bn"
) -> Residual:
    """Two 3x3 convolutions; dropout after the second, before its normalisation, as in Stutz et al. (ICCV 2021)."""
    bias = norm == "none"
    inner = nn.Sequential(
        convolution(channels, filters, 3, stride, bias=bias),
        normalisation(norm, filters),
        activation(act),
        convolution(filters, filters, 3, bias=bias),
        nn.Dropout(dropout),
        normalisation(norm, filters),
    )
    return Residual(inner, channels, filters, stride, act, norm)


def bottleneck(
    channels: int, filters: int, stride: int, act: ActivationName, dropout: float, norm: NormName = "bn"
) -> Residual:
    """1x1, 3x3 and 1x1 convolutions to a quarter of `filters` and back; dropout after the 3x3's activation."""
    narrow = filters // 4
    bias = norm == "none"
    inner = nn.Sequential(
        convolution(channels, narrow, 1, bias=bias),
        normalisation(norm, narrow),
        activation(act),
        convolution(narrow, narrow, 3, stride, bias=bias),
        normalisation(norm, narrow),
        activation(act),
        nn.Dropout(dropout),
        convolution(narrow, filters, 1, bias=bias),
        normalisation(norm, filters),
    )
    return Residual(inner, channels, filters, stride, act, norm)
