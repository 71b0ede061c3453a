"""Boxes in images, one per image."""

from __future__ import annotations

from robustray._later import Tensor, torch


def inside(centre: Tensor, size: Tensor, length: int) -> Tensor:
    """Which of `length` pixels lie in [centre - size // 2, centre - size // 2 + size), boolean [B, length].

    centre and size [B] are whole numbers, in floating point; the part of a box outside the image is cut off.
    """
    begin = (centre - (size / 2).floor())[:, None]
    place = torch.arange(length, device=centre.device)
    return (place >= begin) & (place < begin + size[:, None])
