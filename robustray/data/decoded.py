"""Image files decoded once: a folder of arrays that every later reading maps into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustray.data.base import Images
from robustray.data.reading import by, content, readable
from robustray.data.stored import cache
from robustray.errors import UserError
from robustray.files import whole_folder

log = logging.getLogger("robustray")
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's modes of 8 bits a channel; others would lose their low bits without a word."""
FORMAT = 1
AT_ONCE = 4096
"""Images decoded between two writes."""


class ImageFile(NamedTuple):
    """An image file, as its folder lists it: path, size in bytes, time of change in nanoseconds."""

    path: str
    size: int
    modified: int


Listing = Sequence[tuple[ImageFile, int]]
"""Image files and their classes, in the order of rows."""


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

    def __call__(self, path: str) -> NDArray[np.uint8]:
        """Raises UserError: no whole image, more than 8 bits a channel, or smaller than the crop."""
        from PIL import Image

        with readable(path, "image"), Image.open(path) as opened:
            if opened.mode not in EIGHT_BITS:
                raise UserError(f"{path}: must have 8 bits a channel, not Pillow's mode {opened.mode}")
            image = opened.convert("RGB" if self.channels == 3 else "L")
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
            return np.asarray(image).reshape(image.height, image.width, self.channels)


@dataclass(frozen=True)
class Decoded:
    """A folder of the cache: images.npy uint8 [N, H, W, C], labels.npy int64 [N], and about.json with their hash."""

    folder: Path

    def load(self) -> Images:
        """The images, mapped into memory: pages are read when they are touched, and writing to them changes no file."""
        with readable(self.folder, f"set of decoded images; remove {self.folder} and it is made anew"):
            images = np.load(self.folder / "images.npy", mmap_mode="c", allow_pickle=False)
            return Images(images, np.load(self.folder / "labels.npy", allow_pickle=False))

    @property
    def described(self) -> str:
        """How many images, and the hash of images and labels."""
        with readable(self.folder, f"set of decoded images; remove {self.folder} and it is made anew"):
            about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            return f"{about['images']} images {about['content']}"


def decoded(listing: Listing, root: Path, prepare: Preparation) -> Decoded:
    """The decoded form of image files: from the cache where it is, else made.

    Its key is a hash of the preparation and the listing: each file's path below `root`, size, time of change, and class.

    Raises:
        UserError: a file is no image, images differ in size, or the cache cannot be written.
    """
    there = Decoded(cache() / "decoded" / _key(listing, root, prepare))
    if not there.folder.exists():
        log.info("decoding %d images of %s into %s", len(listing), root, there.folder)
        try:
            _make(there.folder, listing, prepare)
        except OSError as error:
            raise UserError(
                f"{there.folder}: decoded images cannot be written ({error.strerror}); XDG_CACHE_HOME moves the cache"
            ) from None
    return there


def _key(listing: Listing, root: Path, prepare: Preparation) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, asdict(prepare)]).encode())
    inside = len(os.path.join(root, ""))  # noqa: PTH118  # without the place of the root: a moved folder is the same
    for (path, size, modified), label in listing:
        digest.update(os.fsencode(f"{path[inside:]}\0{size}\0{modified}\0{label}\n"))
    return digest.hexdigest()[:32]


def _make(folder: Path, listing: Listing, prepare: Preparation) -> None:
    """Writes the folder: it is whole or not there, whoever else makes it at the same time."""
    with whole_folder(folder) as aside:
        labels = np.array([label for _, label in listing], dtype=np.int64)
        np.save(aside / "labels.npy", labels)
        with (aside / "images.npy").open("wb") as file:  # no memory map: a full disk would kill the process
            for number, images in enumerate(_images(listing, prepare)):
                if number == 0:
                    shape = (len(listing), *images.shape[1:])
                    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                file.write(images.data)
            file.flush()
            os.fsync(file.fileno())
        whole = Decoded(aside).load()
        about = {"images": len(labels), "content": content(whole.images, whole.labels), **asdict(prepare)}
        (aside / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _images(listing: Listing, prepare: Preparation) -> Iterator[NDArray[np.uint8]]:
    """Images [n, H, W, C], a few thousand at a time. Pillow decodes outside of Python's lock, so threads suffice."""
    first: tuple[int, ...] | None = None
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(listing), AT_ONCE):
            paths = [file.path for file, _ in listing[start : start + AT_ONCE]]
            images = list(pool.map(prepare, paths))
            for path, image in zip(paths, images, strict=True):
                first = image.shape if first is None else first
                if image.shape != first:
                    raise UserError(
                        f"{path}: is {by(image.shape)}, but {listing[0][0].path} is {by(first)}; set resize and crop"
                    )
            yield np.stack(images)
            if len(listing) > AT_ONCE:
                log.info("%d of %d", start + len(images), len(listing))
