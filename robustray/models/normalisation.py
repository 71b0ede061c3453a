"""Normalisation layers of convolutional networks by name."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from robustray.models.convnet import NormName


def normalisation(name: NormName, channels: int) -> nn.Module:
    """The layer of a name for [B, channels, H, W], at first without effect on scale and mean.

    bn is batch norm, fixed that without a scale and a shift of its own, rebn that with the scale 1 + w, so that decay and
    clipping pull it to 1; gn and fixed_gn are the same of groups (Wu and He, ECCV 2018, arXiv:1803.08494), which need no other
    images; none is nothing. As Stutz et al. (ICCV 2021, arXiv:2104.04448) compare them.
    """
    match name:
        case "bn":
            return nn.BatchNorm2d(channels)
        case "rebn":
            return _around_one(nn.BatchNorm2d(channels))
        case "gn":
            return nn.GroupNorm(groups(channels), channels)
        case "fixed":
            return nn.BatchNorm2d(channels, affine=False)
        case "fixed_gn":
            return nn.GroupNorm(groups(channels), channels, affine=False)
        case "none":
            return nn.Identity()


def groups(channels: int) -> int:
    """How many groups: the first of 32, 24, 16, 8, 4 and 2 that divides the channels and has two in each, else one."""
    return next((count for count in (32, 24, 16, 8, 4, 2) if channels % count == 0 and channels >= 2 * count), 1)


def _around_one(layer: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """The same layer with its scale parametrised as 1 + w."""
    parametrize.register_parametrization(layer, "weight", _AroundOne())
    return layer


class _AroundOne(nn.Module):
    """A scale of 1 + w."""

    def forward(self, w: Tensor) -> Tensor:
        return 1 + w

    def right_inverse(self, scale: Tensor) -> Tensor:
        return scale - 1
