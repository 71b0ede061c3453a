"""The operations that learnt and random augmentation policies are made of, one of them per image, on the device.

Each is torchvision's of the same name, which takes one strength for a whole batch. On a GPU all are computed for all images
and one result is picked per image: choosing first would make the host wait for the device's draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from robustray._later import F, Tensor, torch
from robustray.data.affine import turned, warp
from robustray.errors import UserError

OPS = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
       "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert")  # fmt: skip
"""Names as torchvision writes them; an operation is its place in this list."""
SIGNED = 10
"""Operations before this one have strengths of either sign."""


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


def apply(x: Tensor, op: Tensor, strength: Tensor, *, grouped: bool | None = None) -> Tensor:
    """Images x [B, C, H, W] in [0, 1], each after its operation op [B] with its strength [B].

    Args:
        grouped: whether each operation sees only the images that ask for it; None: on the CPU, where nobody waits.

    Raises:
        UserError: the images are neither grey nor of three colours.
    """
    if x.shape[1] not in (1, 3):
        raise UserError(f"augmentation policies take images of 1 or 3 channels, not {x.shape[1]}")
    strength = strength.to(x.dtype)
    for first, last, operation in _OPERATIONS:
        chosen = (op >= OPS.index(first)) & (op <= OPS.index(last))
        if grouped or (grouped is None and x.device.type == "cpu"):
            rows = chosen.nonzero()[:, 0]
            x = x.index_copy(0, rows, operation(x[rows], op[rows], strength[rows])) if len(rows) else x
        else:
            x = torch.where(chosen.view(-1, 1, 1, 1), operation(x, op, strength), x)
    return x


def _sheared(x: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    """About the upper left corner, across or down; nearest pixels, black outside, as published."""
    across = torch.where(op == OPS.index("ShearX"), strength, 0)
    down = strength - across
    one = torch.ones_like(strength)
    matrix = torch.stack([one, across, down, one], 1).view(-1, 2, 2)
    return warp(x, matrix, torch.stack([across * (x.shape[2] / 2), down * (x.shape[3] / 2)], 1), "nearest", "zeros")


def _moved(x: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    """Moved right or down, or turned counter-clockwise; nearest pixels, black outside, as published."""
    right, down, degrees = (
        torch.where(op == OPS.index(name), strength, 0) for name in ("TranslateX", "TranslateY", "Rotate")
    )
    return turned(x, degrees, torch.stack([right, down], 1), "nearest", "zeros")


def _theirs() -> Any:
    """torchvision's functions, imported on first use: torch comes with them."""
    from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

    return functional


def _grey(x: Tensor) -> Tensor:
    grey: Tensor = _theirs().rgb_to_grayscale(x) if x.shape[1] == 3 else x
    return grey


def _posterised(x: Tensor, op: Tensor, strength: Tensor) -> Tensor:
    levels = (2 ** strength.view(-1, 1, 1, 1)).round()
    return (x * levels).floor().minimum(levels - 1) / levels


def _blend(x: Tensor, other: Tensor, strength: Tensor) -> Tensor:
    """Away from the other image by a factor of 1 + strength, inside [0, 1]: toward it where that is below 1."""
    ratio = (1 + strength).view(-1, 1, 1, 1)
    return (ratio * x + (1 - ratio) * other).clamp(0, 1)


def _blurred(x: Tensor) -> Tensor:
    """The mean of 3x3 pixels, the middle one counted five times; pixels at the edge as they are."""
    if min(x.shape[2:]) <= 2:
        return x
    inner = (9 * F.avg_pool2d(x, 3, stride=1) + 4 * x[:, :, 1:-1, 1:-1]) / 13
    edge = F.pad(torch.zeros_like(inner, dtype=torch.bool), (1, 1, 1, 1), value=True)
    return torch.where(edge, x, F.pad(inner, (1, 1, 1, 1)))


_OPERATIONS: tuple[tuple[str, str, Callable[[Tensor, Tensor, Tensor], Tensor]], ...] = (
    ("ShearX", "ShearY", _sheared),
    ("TranslateX", "Rotate", _moved),
    ("Brightness", "Brightness", lambda x, op, strength: _blend(x, torch.zeros_like(x), strength)),
    ("Color", "Color", lambda x, op, strength: _blend(x, _grey(x), strength)),
    ("Contrast", "Contrast", lambda x, op, strength: _blend(x, _grey(x).mean((1, 2, 3), keepdim=True), strength)),
    ("Sharpness", "Sharpness", lambda x, op, strength: _blend(x, _blurred(x), strength)),
    ("Posterize", "Posterize", _posterised),
    ("Solarize", "Solarize", lambda x, op, strength: torch.where(x >= strength.view(-1, 1, 1, 1), 1 - x, x)),
    ("AutoContrast", "AutoContrast", lambda x, op, strength: _theirs().autocontrast(x)),
    ("Equalize", "Equalize", lambda x, op, strength: _theirs().equalize(x)),
    ("Invert", "Invert", lambda x, op, strength: 1 - x),
)
"""From and to which operations a function is for: images, operations and strengths [B] -> images."""
