"""Networks of torchvision, by their names there."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray._later import nn
from robustray.errors import nearest
from robustray.models.base import Architecture
from robustray.registry import Real, register

FAMILIES = {
    "alexnet": ("",),
    "convnext_": ("base", "large", "small", "tiny"),
    "densenet": ("121", "161", "169", "201"),
    "efficientnet_": ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "v2_l", "v2_m", "v2_s"),
    "mnasnet": ("0_5", "0_75", "1_0", "1_3"),
    "mobilenet_": ("v2", "v3_large", "v3_small"),
    "regnet_x_": ("16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf"),
    "regnet_y_": ("128gf", "16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf"),
    "resnet": ("101", "152", "18", "34", "50"),
    "resnext": ("101_32x8d", "101_64x4d", "50_32x4d"),
    "shufflenet_v2_": ("x0_5", "x1_0", "x1_5", "x2_0"),
    "vgg": ("11", "11_bn", "13", "13_bn", "16", "16_bn", "19", "19_bn"),
    "wide_resnet": ("101_2", "50_2"),
}
NAMES = tuple(sorted(family + each for family, members in FAMILIES.items() for each in members))
"""Said here, so that a mistake is told without torchvision: its networks for classes, but for those that take one size of
images alone (maxvit, swin, vit), give more than logits in training (googlenet, inception_v3), or end in no linear layer
(squeezenet)."""


@register
class Torchvision(Architecture):
    """A network of torchvision by its name there, with the classes and channels of the data. None of its weights are loaded.

    They are made for ImageNet at 224x224 pixels: five times images are halved, so that of 32x32 pixels 1x1 is left before the
    last stage, and a robust accuracy is far below that of `resnet18` or `wide_resnet` here, which halve them three times.
    From 64x64 pixels on they are of use. Images that are too small for a network are refused. Where there are not three
    channels, the first convolution is drawn anew, with Kaiming's fan-out. Dropout and stochastic depth of their own stay.
    """

    name: Literal["torchvision"] = "torchvision"
    architecture: str = Field("resnet18", description="which network, by its name in torchvision.models")
    dropout: Real = Field(
        0.0, ge=0, lt=1, description="probability that a feature is dropped before the last linear layer"
    )

    @field_validator("architecture")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NAMES:
            raise PydanticCustomError(
                "architecture",
                "there is no such network of torchvision here, '{value}'; {hint}",
                {"value": value, "hint": nearest(value, NAMES)},
            )
        return value

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from torchvision.models import get_model  # type: ignore[import-untyped]

        from robustray.models.foreign import tried, with_channels, with_dropout

        plain = with_channels(get_model(self.architecture, weights=None, num_classes=classes), channels)
        return with_dropout(tried(plain, (channels, height, width), f"{self.name} {self.architecture}"), self.dropout)
