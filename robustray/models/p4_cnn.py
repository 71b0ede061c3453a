"""The network for MNIST whose convolutions turn with the image."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from robustray._later import nn
from robustray.models.base import Architecture
from robustray.registry import Count, Real, register


@register
class P4Cnn(Architecture):
    """Four 3x3 convolutions over a group (Cohen and Welling, ICML 2016, arXiv:1602.07576) and two linear layers.

    Channels w, w, 2w, 2w for a width w, each with |G| planes; ReLU after each, nothing is padded; the maximum of 2x2 pixels
    after the second and the fourth, of 3x3 pixels two apart where a side is odd, so that the grid stays centred; 50 units,
    ReLU, dropout, classes. Feature maps of a turned image are the turned ones, exactly and at every size, and logits are the
    same with `head: pool`. With c channels of images and K classes the parameters are

        w (9 c + 1) + 3 w (9 w |G| + 1) + 2 w (18 w |G| + 1) + 50 (f + 1) + 51 K,

    where f is 2 w with `head: pool`, and 2 w |G| times the pixels of the last maps with `head: flatten`: 26,910 and 89,910 on
    MNIST. Filters are drawn as those of `p4_resnet18`, their biases start at 0; linear layers keep PyTorch's weights.

    The network for MNIST of Kamath et al. (NeurIPS 2021, arXiv:2002.11318) is that with `head: flatten`: its logits change when
    an image is turned, by design of the head.
    """

    name: Literal["p4_cnn"] = "p4_cnn"
    width: Count = Field(10, ge=1, le=4096, description="channels of the first two convolutions, 10 as published")
    group: Literal["p4", "p4m"] = Field("p4", description="p4: quarter turns; p4m: quarter turns and mirror images")
    head: Literal["pool", "flatten"] = Field(
        "pool",
        description="pool: mean over planes and pixels, invariant; flatten: an input for each of them, as published, is not",
    )
    dropout: Real = Field(0.5, ge=0, lt=1, description="probability that one of the 50 units is dropped")

    smallest: ClassVar[int] = 13

    def network(self, channels: int, height: int, width: int, classes: int) -> nn.Module:
        from robustray.models.equivariant import GROUPS, CentredMaximum, GroupConv, GroupMean

        first, second = self.width, 2 * self.width
        features = second
        if self.head == "flatten":
            features *= len(GROUPS[self.group]) * _last_side(height) * _last_side(width)
        return nn.Sequential(
            GroupConv(self.group, channels, first, 3, lifts=True, padding=0, bias=True),
            nn.ReLU(inplace=True),
            GroupConv(self.group, first, first, 3, padding=0, bias=True),
            nn.ReLU(inplace=True),
            CentredMaximum(),
            GroupConv(self.group, first, second, 3, padding=0, bias=True),
            nn.ReLU(inplace=True),
            GroupConv(self.group, second, second, 3, padding=0, bias=True),
            nn.ReLU(inplace=True),
            CentredMaximum(),
            nn.Flatten() if self.head == "flatten" else GroupMean(second),
            nn.Linear(features, 50),
            nn.ReLU(inplace=True),
            nn.Dropout(self.dropout),
            nn.Linear(50, classes),
        )


def _last_side(side: int) -> int:
    """Pixels along a side of the last feature maps."""
    for _ in range(2):
        side = -(-(side - 4) // 2)
    return side
