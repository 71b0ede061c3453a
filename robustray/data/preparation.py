"""From an image file to the pixels of a data set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.data.reading import by, readable
from robustray.errors import UserError

EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits a channel; others would lose their low bits without a word."""
_SIXTEEN = re.compile(r"(?<!BGR);16")  # of a channel; BMP's BGR;16 are the bits of all three
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Preparation:
    """From a file to an image [H, W, channels], as torchvision's Resize and CenterCrop make it of a Pillow image.

    Args:
        resize: length of the shorter side, bilinear and antialiased; None leaves the size.
        crop: side of the square cut from the centre; None cuts nothing.
        channels: 3 for red, green and blue, 1 for grey.
    """

    resize: int | None
    crop: int | None
    channels: int

    def __call__(self, path: str) -> tuple[NDArray[np.uint8], list[str]]:
        """A file's image, and what of it is not as a viewer would show it.

        Raises:
            UserError: no whole image, more than 8 bits a channel, or smaller than the crop.
        """
        from PIL import Image

        with readable(path, "image"), Image.open(path) as opened:
            if (deeper := _deeper(opened)) is not None:
                raise UserError(
                    f"{path}: must have 8 bits a channel, not {deeper}; save it with 8, of 16 bits for example pixels / 257"
                )
            image = opened.convert("RGB" if self.channels == 3 else "L")
            odd = _odd(opened)
            width, height = image.size
            short = min(width, height)
            if self.resize is not None and short != self.resize:
                width, height = (
                    self.resize if side == short else int(self.resize * side / short) for side in image.size
                )
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            if self.crop is not None:
                if min(width, height) < self.crop:
                    raise UserError(f"{path}: is {height}x{width}, too small to cut {by((self.crop,) * 2)}; set resize")
                left, top = round((width - self.crop) / 2), round((height - self.crop) / 2)
                image = image.crop((left, top, left + self.crop, top + self.crop))
            return np.asarray(image).reshape(image.height, image.width, self.channels), odd


def _deeper(opened: Any) -> str | None:
    """What has more bits than 8, in words. Pillow opens colour of 16 bits as RGB, without the lower 8."""
    for codec, _, _, how in opened.tile:
        raw = how if isinstance(how, str) else str(how[0]) if isinstance(how, tuple) and how else ""
        if _SIXTEEN.search(raw):
            return "16"
        if codec == "ppm" and isinstance(how, tuple) and how[1] > 255:
            return f"values up to {how[1]}"
    return None if opened.mode in EIGHT_BITS else f"Pillow's mode {opened.mode}"


def _odd(opened: Any) -> list[str]:
    """What an image that was read says beside its pixels. It is not followed, as torchvision does not follow it."""
    odd = []
    if opened.getexif().get(_ORIENTATION, 1) != 1:
        odd.append("turned in a viewer, by an EXIF orientation, and not here")
    if getattr(opened, "n_frames", 1) > 1:
        odd.append("of several frames, of which the first is taken")
    if "transparency" in opened.info or ("A" in opened.getbands() and opened.getchannel("A").getextrema()[0] < 255):
        odd.append("transparent in places, which are read as what lies under them")
    return odd
