"""Images side by side, as a picture to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colours = NDArray[np.uint8]
"""[n, H, W, 3]."""
CELL = 112
"""Pixels on a side that a small image is magnified to, or a little less: whole multiples keep its pixels square and sharp."""
ACROSS = 10
_GAP, _LINE = 6, 12


def seen(x: NDArray[Any]) -> Colours:
    """Images [n, C, H, W] in [0, 1] as colours: three channels are red, green and blue, any other number a grey, their mean."""
    shown = x if x.shape[1] == 3 else np.repeat(x.mean(1, keepdims=True), 3, 1)
    return _bytes(shown)


def signed(values: NDArray[Any]) -> Colours:
    """Numbers [n, C, H, W] around 0 as colours, each image divided by the 99th percentile of its absolute values.

    Three channels: 0 is mid-grey, a channel's colour grows with its number. Any other number of channels: their mean, 0 is
    white, up to red above it and to blue below.
    """
    shown = values if values.shape[1] == 3 else values.mean(1, keepdims=True)
    scale = np.quantile(np.abs(shown).reshape(len(shown), -1), 0.99, axis=1).reshape(-1, 1, 1, 1)
    most = np.abs(shown).max((1, 2, 3), keepdims=True)
    scale = np.where(scale > 0, scale, most)  # fewer than one pixel in a hundred has a slope
    even = np.clip(np.divide(shown, scale, out=np.zeros(shown.shape), where=scale > 0), -1, 1)
    if shown.shape[1] == 3:
        return _bytes(0.5 + even / 2)
    up, down = np.maximum(even, 0), np.maximum(-even, 0)
    return _bytes(np.concatenate([1 - down, 1 - up - down, 1 - up], 1))


def grid(rows: Sequence[Colours], titles: Sequence[str]) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of rows of images, [n, h, w, 3] each, under a line of n titles; ACROSS columns at most in a band."""
    from PIL import Image, ImageDraw, ImageFont  # options and help do not wait for it

    count, across = len(titles), min(ACROSS, len(titles))
    height, width = rows[0].shape[1:3]
    times = max(1, CELL // max(height, width))
    down, right = height * times + _GAP, width * times + _GAP
    band = down * len(rows) + _GAP + _LINE
    sheet = Image.new("RGB", (right * across + _GAP, band * -(-count // across)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for at, title in enumerate(titles):
        left, top = at % across * right + _GAP, at // across * band
        pen.text((left, top + _GAP // 2), title, fill="black", font=font)
        for row, images in enumerate(rows):
            cell = np.repeat(np.repeat(images[at], times, 0), times, 1)
            sheet.paste(Image.fromarray(cell), (left, top + row * down + _GAP + _LINE))
    return np.asarray(sheet)


def _bytes(x: NDArray[Any]) -> Colours:
    """[n, 3, H, W] in [0, 1] to [n, H, W, 3]."""
    return np.ascontiguousarray((x * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
