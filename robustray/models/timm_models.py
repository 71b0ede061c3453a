"""Networks of timm, by their names there."""

from __future__ import annotations

import importlib.util
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from robustray._later import nn
from robustray.errors import nearest
from robustray.models.base import Architecture
from robustray.registry import Real, register


@register
class Timm(Architecture):
    """A network of timm (Wightman, 2019) by its name there, with the classes and channels of the data, weights drawn.

    Needs the package timm, as `pip install 'robustray[timm]'` brings it. BiT (Kolesnikov et al., ECCV 2020, arXiv:1912.11370)
    is `resnetv2_50x1_bit` to `resnetv2_152x4_bit`, ConvNeXt (Liu et al., CVPR 2022, arXiv:2201.03545) `convnext_atto` to
    `convnext_xxlarge`. They halve images five times, as torchvision's do: from 64x64 pixels on they are of use.
    """

    name: Literal["timm"] = "timm"
    architecture: str = Field("resnetv2_50x1_bit", description="which network, by its name in timm")
    dropout: Real = Field(
        0.0, ge=0, lt=1, description="probability that a feature is dropped before the last layer, timm's drop_rate"
    )

    package: ClassVar[str | None] = "timm"

    @field_validator("architecture")
    @classmethod
    def _known(cls, value: str) -> str:
        """Where timm is there; it takes seconds to load, and does so for the name of one of its networks alone."""
        if value == cls.model_fields["architecture"].default or importlib.util.find_spec("timm") is None:
            return value
        import timm

        if value not in timm.list_models():
            raise PydanticCustomError(
                "architecture",
                "there is no such network of timm, '{value}'; {hint}",
                {"value": value, "hint": _hint(value, timm.list_models())},
            )
        return value

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        self.check()
        import timm

        from robustray.models.foreign import tried

        network = timm.create_model(
            self.architecture, pretrained=False, in_chans=channels, num_classes=classes, drop_rate=self.dropout
        )
        return tried(network, (channels, height, width), f"{self.name} {self.architecture}")


def _hint(value: str, known: list[str]) -> str:
    """Of more than a thousand names those alone that are near."""
    near = nearest(value, known)
    return near if near.startswith("did you mean") else "timm.list_models() has them"
