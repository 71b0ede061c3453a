"""Pre-activation ResNets as DeepMind's published weights need them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray._later import nn
from robustray.models.published import DeepmindNet
from robustray.registry import Count, register

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks of each stage by depth."""


@register
class DeepmindPreactResnet(DeepmindNet):
    """The pre-activation ResNet-18 or 34 of Rebuffi et al. (2021, arXiv:2103.01946), for their published weights and training.

    As `preact_resnet18`, with Swish; with strided convolutions padded as TensorFlow does, on the right and below; with
    shortcuts that are 3x3 convolutions of what comes in, before batch norm; and batch norm with momentum 0.01. 12.55 M
    parameters with depth 18. Published weights, also those of SCORE (Pang et al., ICML 2022, arXiv:2202.10103) and Wang et al.
    (ICML 2023, arXiv:2302.04638), load as they are, with `statistics` of their data set.
    """

    name: Literal["deepmind_preact_resnet"] = "deepmind_preact_resnet"
    depth: Count = Field(18, ge=18, le=34, description="layers with weights: 18 or 34")
    width: Count = Field(64, ge=1, le=4096, description="channels of the first stage; 64 is published")

    @field_validator("depth")
    @classmethod
    def _known(cls, value: int) -> int:
        if value not in BLOCKS:
            raise PydanticCustomError("depth", "must be 18 or 34, not {depth}", {"depth": value})
        return value

    def layers(self, channels: int, classes: int) -> nn.Sequential:
        from robustray.models.published_networks import preactivated

        numbers = BLOCKS[self.depth]
        stages = [(self.width * 2**i, number, 1 if i == 0 else 2) for i, number in enumerate(numbers)]
        return preactivated(
            channels, stages, classes, act=self.activation, dropout=self.dropout, head_bias=self.head_bias
        )
