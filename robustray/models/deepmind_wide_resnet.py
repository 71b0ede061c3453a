"""Wide residual networks as DeepMind's published weights need them."""

from __future__ import annotations

from typing import Literal

from robustray._later import nn
from robustray.models.published import DeepmindNet
from robustray.models.wide_resnet import WideResnet
from robustray.registry import register


@register
class DeepmindWideResnet(DeepmindNet, WideResnet):
    """The wide residual network of Gowal et al. (2020, arXiv:2010.03593), for their published weights and for training.

    `wide_resnet` with Swish, strided convolutions padded as TensorFlow does, on the right and below, and batch norm with
    momentum 0.01. Published weights of Gowal et al., Rebuffi et al. (2021, arXiv:2103.01946), SCORE (Pang et al., ICML 2022,
    arXiv:2202.10103) and Wang et al. (ICML 2023, arXiv:2302.04638) load as they are, with `statistics` of their data set.
    """

    name: Literal["deepmind_wide_resnet"] = "deepmind_wide_resnet"  # type: ignore[assignment]

    def layers(self, channels: int, classes: int) -> nn.Sequential:
        from robustray.models.published_networks import wide

        return wide(channels, self.stages, classes, act=self.activation, dropout=self.dropout, head_bias=self.head_bias)
