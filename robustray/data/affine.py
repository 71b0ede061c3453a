"""Affine maps of images, one per image."""

from __future__ import annotations

import math
from typing import Literal

from robustray._later import F, Tensor, torch

Interpolation = Literal["bilinear", "nearest"]
Fill = Literal["zeros", "reflect"]
_PADDING = {"zeros": "zeros", "reflect": "reflection"}


def warp(x: Tensor, matrix: Tensor, shift: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Images x [B, C, H, W] in [0, 1] seen through in = matrix @ out + shift, [B, C, H, W] in [0, 1].

    Args:
        matrix: [B, 2, 2], shift: [B, 2], in pixels (horizontal, vertical) from the centre of the image: they give the
            place in x that a pixel of the result is taken from.
        fill: what lies outside of x: black, or its mirror image.
    """
    _, _, height, width = x.shape
    half = torch.stack([x.new_full((), width / 2), x.new_full((), height / 2)])
    theta = torch.cat([matrix * half / half[:, None], (shift / half)[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, mode=interpolation, padding_mode=_PADDING[fill], align_corners=False)
    return moved.clamp(0, 1)


def turned(x: Tensor, degrees: Tensor, shift: Tensor, interpolation: Interpolation, fill: Fill) -> Tensor:
    """Images turned counter-clockwise by `degrees` [B] about their centre, then moved by `shift` [B, 2] (right, down)."""
    angle = degrees * (math.pi / 180)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    return warp(x, matrix, -(matrix @ shift[:, :, None])[:, :, 0], interpolation, fill)


def uniform(x: Tensor, reach: float, numbers: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws for a batch, uniform in [-reach, reach], [B, *numbers]."""
    return reach * (2 * torch.rand((len(x), *numbers), generator=generator, device=x.device, dtype=x.dtype) - 1)
