"""ResNet-18 whose layers turn and mirror with the image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.convnet import ConvNet
from robustray.registry import Count, register


@register
class P4Resnet18(ConvNet):
    """Group-equivariant ResNet-18 (Cohen and Welling, ICML 2016, arXiv:1602.07576) for small images.

    The layers of `resnet18`, with convolutions over a group of symmetries: p4, the four quarter turns, or p4m, these and
    their mirror images. An image turned by one of them has feature maps that are turned, and the same logits with `head:
    pool` and an exact `downsampling`. Channels are 1, 2, 4 and 8 times `width` over the root of the group's size, rounded: 23,
    45, 91 and 181 for p4m. So it has as many weights as `resnet18`, 11.19 M (p4: 11.17 M), and 8 (p4: 4) times its products.
    Dropout lies after the second convolution of a block, before its batch norm. A filter is drawn from
    N(0, 2 / (k^2 * out * |G|)), Kaiming's fan-out of the convolution that is computed.

    The network that Kamath et al. (NeurIPS 2021, arXiv:2002.11318) call GCNN is that with `group: p4m, head: flatten,
    downsampling: strided`. Its logits change when an image is turned, by design of the head and since strides fall off
    the centre of even sides.
    """

    name: Literal["p4_resnet18"] = "p4_resnet18"
    width: Count = Field(
        64,
        ge=1,
        le=4096,
        description="channels of the first stage before they are shared among the group; 64 is published",
    )
    group: Literal["p4", "p4m"] = Field("p4m", description="p4: quarter turns; p4m: quarter turns and mirror images")
    head: Literal["pool", "flatten"] = Field(
        "pool",
        description="pool: mean over the group, invariant; flatten: an input for each element, as published, is not",
    )
    downsampling: Literal["odd", "blur", "strided"] = Field(
        "odd",
        description="odd: stride 2 of sides made odd by a mean of neighbours, exact; blur: every other pixel of a blurred "
        "map, exact, and a slower convolution; strided: stride 2 as published, exact only where every side is odd",
    )

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.equivariant import GROUPS
        from robustray.models.equivariant_residual import group_residual

        share = len(GROUPS[self.group]) ** 0.5
        filters = [max(1, round(self.width * factor / share)) for factor in (1, 2, 4, 8)]
        return group_residual(
            self.group,
            channels,
            [(each, 2, stride) for each, stride in zip(filters, (1, 2, 2, 2), strict=True)],
            classes,
            act=self.activation,
            dropout=self.dropout,
            head_bias=self.head_bias,
            downsampling=self.downsampling,
            head=self.head,
        )
