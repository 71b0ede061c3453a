"""ResNet-18 for small images."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from robustray._later import nn
from robustray.models.activations import activation
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register

_SCALES = {"plain": "bn", "around_one": "rebn"}


@register
class Resnet18(ConvNet):
    """ResNet-18 (He et al., CVPR 2016, arXiv:1512.03385) with a 3x3 convolution at the start, for 32x32 pixels.

    Four stages of two blocks with `width`, 2, 4 and 8 times as many channels, each but the first at half the size; mean
    over pixels, one linear layer. 11.17 M parameters on CIFAR-10. Dropout lies after the second convolution of a block,
    before its normalisation. Convolutions are drawn with Kaiming's fan-out.

    Stutz et al. (ICCV 2021, arXiv:2104.04448) train it with `norm: rebn`, without which clipping weights
    to 0.005 would switch batch norm off, and with dropout of 0.1 where they have any.
    """

    name: Literal["resnet18"] = "resnet18"
    width: Count = Field(64, ge=1, le=4096, description="channels of the first stage; 64 is published")

    @model_validator(mode="before")
    @classmethod
    def _scales(cls, value: Any) -> Any:
        """`scales: around_one` is how `norm: rebn` was written before, and `plain` bn; it is read for good."""
        if not isinstance(value, dict) or "scales" not in value:
            return value
        scales = value["scales"]
        if scales not in _SCALES:
            known = " or ".join(_SCALES)
            raise PydanticCustomError("scales", "must be {known}, or better norm", {"known": known, "key": "scales"})
        if "norm" in value:
            raise PydanticCustomError(
                "scales", "is norm by another name, which is given as well; leave it out", {"key": "scales"}
            )
        return {key: each for key, each in value.items() if key != "scales"} | {"norm": _SCALES[scales]}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With the option of before."""
        made = super().__get_pydantic_json_schema__(schema, handler)
        before = {
            "enum": list(_SCALES),
            "type": "string",
            "deprecated": True,
            "description": "norm by its name of before",
        }
        handler.resolve_ref_schema(made)["properties"].setdefault("scales", before)
        return made

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models._layers import blocks, convolution, drawn, head
        from robustray.models._residual import basic
        from robustray.models.normalisation import normalisation

        before = self.width
        layers: list[nn.Module] = [
            convolution(channels, before, 3, bias=self.norm == "none"),
            normalisation(self.norm, before),
            activation(self.activation),
        ]
        for filters, stride in blocks([(before, 2, 1), *((self.width * factor, 2, 2) for factor in (2, 4, 8))]):
            layers.append(basic(before, filters, stride, self.activation, self.dropout, self.norm))
            before = filters
        return drawn(nn.Sequential(*layers, *head(before, classes, self.head_bias)))
