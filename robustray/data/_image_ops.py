"""The operations that learnt and random augmentation policies are made of, one of them per image, on the device.

Each is torchvision's of the same name, which takes one strength for a whole batch. All are computed for all images and
one result is picked per image: choosing first would make the host wait for the device's draws.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import autocontrast, equalize, rgb_to_grayscale  # type: ignore[import-untyped]

from robustray.data._affine import turned, warp
from robustray.errors import UserError

OPS = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
       "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")  # fmt: skip
"""Names as torchvision writes them; an operation is its place in this list."""
SIGNED = 10
"""Operations before this one have strengths of either sign."""
_AFFINE = 6


@lru_cache(maxsize=16)  # made once: what is copied from the host makes it wait
def strengths(bins: int, height: int, width: int, wide: bool, device: torch.device) -> Tensor:
    """Strength of each operation at each of `bins` levels, [len(OPS), bins], as AutoAugment or TrivialAugmentWide has it.

    Slopes, pixels and degrees for the affine ones; the change of a factor; bits; the threshold, in pixels of [0, 1].
    """
    level = torch.linspace(0, 1, bins, dtype=torch.float64)
    shear, turn, factor, bits = (0.99, 135, 0.99, 6) if wide else (0.3, 30, 0.9, 4)
    across, down = (32.0, 32.0) if wide else (150 / 331 * width, 150 / 331 * height)
    none = torch.zeros(bins, dtype=torch.float64)
    table = [none, shear * level, shear * level, (across * level).floor(), (down * level).floor(), turn * level,
             *[factor * level] * 4, 8 - (bits * level).round(), 1 - level, none, none, none]  # fmt: skip
    return torch.stack(table).to(device, torch.float32)


def apply(x: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    """Images x [B, C, H, W] in [0, 1], each after its operation op [B] with its strength [B].

    Raises:
        UserError: the images are neither grey nor of three colours.
    """
    if x.shape[1] not in (1, 3):
        raise UserError(f"augmentation policies take images of 1 or 3 channels, not {x.shape[1]}")
    strength = strength.to(x.dtype)
    one, more = strength.view(-1, 1, 1, 1), (1 + strength).view(-1, 1, 1, 1)
    grey = rgb_to_grayscale(x) if x.shape[1] == 3 else x
    levels = (2**one).round()
    results = (
        _moved(x, op, strength),
        _blend(x, torch.zeros_like(x), more),
        _blend(x, grey, more),
        _blend(x, grey.mean((1, 2, 3), keepdim=True), more),
        _blend(x, _blurred(x), more),
        (x * levels).floor().minimum(levels - 1) / levels,
        torch.where(x >= one, 1 - x, x),
        autocontrast(x),
        equalize(x),
        1 - x,
    )
    for number, result in enumerate(results, start=_AFFINE - 1):
        chosen = (op >= 1) & (op < _AFFINE) if number < _AFFINE else op == number
        x = torch.where(chosen.view(-1, 1, 1, 1), result, x)
    return x


def _moved(x: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    """Sheared about the upper left corner, moved right or down, or turned; nearest pixels, black outside, as published."""
    zero = torch.zeros_like(strength)

    def of(name: str) -> Tensor:
        return torch.where(op == OPS.index(name), strength, zero)

    degrees, shear_x, shear_y = of("Rotate"), of("ShearX"), of("ShearY")
    rotated = turned(x, degrees, torch.stack([of("TranslateX"), of("TranslateY")], 1), "nearest", "zeros")
    matrix = torch.stack([zero + 1, shear_x, shear_y, zero + 1], 1).view(-1, 2, 2)
    corner = torch.stack([shear_x * (x.shape[2] / 2), shear_y * (x.shape[3] / 2)], 1)
    sheared = warp(x, matrix, corner, "nearest", "zeros")
    return torch.where((op <= OPS.index("ShearY")).view(-1, 1, 1, 1), sheared, rotated)


def _blend(x: Tensor, other: Tensor, ratio: Tensor) -> Tensor:
    """ratio x + (1 - ratio) other, inside [0, 1]; ratio may be above 1."""
    return (ratio * x + (1 - ratio) * other).clamp(0, 1)


def _blurred(x: Tensor) -> Tensor:
    """The mean of 3x3 pixels, the middle one counted five times; pixels at the edge as they are."""
    if min(x.shape[2:]) <= 2:
        return x
    inner = (9 * F.avg_pool2d(x, 3, stride=1) + 4 * x[:, :, 1:-1, 1:-1]) / 13
    edge = F.pad(torch.zeros_like(inner, dtype=torch.bool), (1, 1, 1, 1), value=True)
    return torch.where(edge, x, F.pad(inner, (1, 1, 1, 1)))
