"""Convolutions that turn and mirror with the image (Cohen and Welling, ICML 2016, arXiv:1602.07576).

A feature map of a group G of |G| symmetries of the pixel grid has one plane per channel and element of G. In memory it is
[B, C |G|, H, W], the planes of a channel side by side, so that every layer is one plain convolution, batch norm or mean.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GroupName = Literal["p4", "p4m"]


class Symmetry(NamedTuple):
    """x -> R^turns M^mirrored x: R a quarter turn counter-clockwise (`torch.rot90`), M left and right exchanged, M first."""

    turns: int
    mirrored: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """The image, map or filter, turned and mirrored in its last two dimensions."""
        return (x.flip(-1) if self.mirrored else x).rot90(self.turns, (-2, -1))

    def after(self, other: Symmetry) -> Symmetry:
        """x -> self(other(x)): since M R = R^-1 M, what stands to the right of a mirror turns the other way."""
        turns = self.turns + (-other.turns if self.mirrored else other.turns)
        return Symmetry(turns % 4, self.mirrored != other.mirrored)

    def inverse(self) -> Symmetry:
        """A mirrored one is its own inverse."""
        return self if self.mirrored else Symmetry(-self.turns % 4)


GROUPS: dict[GroupName, tuple[Symmetry, ...]] = {
    "p4": tuple(Symmetry(turns) for turns in range(4)),
    "p4m": (*(Symmetry(turns) for turns in range(4)), *(Symmetry(turns, True) for turns in (2, 1, 0, 3))),
}
"""The elements in the order of their planes: four quarter turns; and the same after a mirror, upside down first."""


def moved(u: Symmetry, group: GroupName) -> tuple[int, ...]:
    """Where planes come from when the image is turned: layer(u x)[plane i] = u layer(x)[plane moved(u)[i]], of u^-1 g_i."""
    elements = GROUPS[group]
    return tuple(elements.index(u.inverse().after(g)) for g in elements)


class GroupConv(nn.Module):
    """The convolution of images (lifting) or of feature maps with filters of a group, as one plain convolution.

    Plane s of output channel o is

        sum over i, t of  conv(f[i, t], g_s w[o, i, u]),   g_u = g_s^-1 g_t,

    and for images conv(x, g_s w) summed over their channels. With an odd `size`, padding of `size // 2` and stride 1 it
    commutes with the group: layer(u x) is u layer(x) with planes moved as `moved` says. So it does with stride 2 where
    both sides are odd; where one is even, the grid of every other pixel lies off the centre, and turns with nothing.

    Args:
        channels: of images where it lifts, else of feature maps, each of |G| planes.
        filters: channels of the output.
        lifts: whether the input is images.
        bias: whether each output channel has a bias, one for all of its planes.
    """

    def __init__(
        self,
        group: GroupName,
        channels: int,
        filters: int,
        size: int,
        stride: int = 1,
        *,
        lifts: bool = False,
        padding: int | None = None,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.group: GroupName = group
        self.stride = stride
        self.padding = size // 2 if padding is None else padding
        elements = GROUPS[group]
        self.weight = nn.Parameter(torch.empty(filters, channels, 1 if lifts else len(elements), size, size))
        self.bias = nn.Parameter(torch.zeros(filters)) if bias else None
        # Kaiming's fan-out of the convolution that is computed, in which every filter stands once per plane
        nn.init.normal_(self.weight, 0, (2 / (size**2 * filters * len(elements))) ** 0.5)
        for s, g in enumerate(() if lifts else elements):
            self.register_buffer(f"_planes{s}", torch.tensor(moved(g, group)), persistent=False)

    def bank(self) -> Tensor:
        """The filters of the plain convolution, [filters |G|, channels T, size, size]: T = 1 of images, |G| of maps."""
        lifts = self.weight.shape[2] == 1
        turned = [
            g(self.weight if lifts else self.weight.index_select(2, self.get_buffer(f"_planes{s}")))
            for s, g in enumerate(GROUPS[self.group])
        ]
        return torch.stack(turned, 1).flatten(2, 3).flatten(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.repeat_interleave(len(GROUPS[self.group]))
        return F.conv2d(x, self.bank(), bias, self.stride, self.padding)

    def extra_repr(self) -> str:
        filters, channels, _, size, _ = self.weight.shape
        return f"{self.group}, {channels}, {filters}, {size}, stride={self.stride}, padding={self.padding}"


class GroupBatchNorm(nn.BatchNorm2d):
    """Batch norm of feature maps: one mean and one variance per channel, over its planes and their pixels.

    Statistics per plane would differ between an image and the turned one.
    """

    def forward(self, x: Tensor) -> Tensor:
        batch, planes, height, width = x.shape
        return super().forward(x.reshape(batch, self.num_features, -1, width)).view(batch, planes, height, width)


class GroupMean(nn.Module):
    """[B, C |G|, H, W] to [B, C]: the mean over planes and pixels, which no element of the group changes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], self.channels, -1).mean(2)  # `len` would fix the batch of an exported program


class OddSides(nn.Module):
    """The mean of neighbours along every side that is even, which then has a pixel less: its centre is a pixel.

    What follows with stride 2 and odd filters commutes with turns and mirrors.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel = tuple(2 - side % 2 for side in x.shape[-2:])
        return x if kernel == (1, 1) else F.avg_pool2d(x, kernel, stride=1)


class CentredMaximum(nn.Module):
    """The maximum of 2 neighbours along every side that is even, of 3 two apart along one that is odd: ceil(side / 2) are left.

    Windows lie around the centre, so it commutes with turns and mirrors. Over even sides it is the usual one of 2 x 2 pixels.
    """

    def forward(self, x: Tensor) -> Tensor:
        odd = tuple(side % 2 for side in x.shape[-2:])
        return F.max_pool2d(x, tuple(2 + each for each in odd), stride=2, padding=odd)


class Blur(nn.Module):
    """Every other pixel of a blurred map (Zhang, ICML 2019, arXiv:1904.11486): [.., H, W] to [.., ceil(H / 2), ceil(W / 2)].

    Weights 1 3 3 1 along even sides and 1 2 1 along odd ones, each over their sum, with one pixel of zeros around: both lie
    around the centre, so blurring commutes with turns and mirrors.
    """

    def forward(self, x: Tensor) -> Tensor:
        batch, planes, *sides = x.shape
        rows, columns = (x.new_tensor((1, 2, 1) if side % 2 else (1, 3, 3, 1)) for side in sides)
        kernel = torch.outer(rows, columns) / (rows.sum() * columns.sum())
        blurred = F.conv2d(x.reshape(batch * planes, 1, *sides), kernel[None, None], stride=2, padding=1)
        return blurred.view(batch, planes, *blurred.shape[-2:])
