"""Image files decoded once: a folder of arrays that every later reading maps into memory."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.data.images import Images
from robustray.data.places import cache
from robustray.data.preparation import Preparation
from robustray.data.reading import by, content, readable
from robustray.errors import UserError
from robustray.files import Stamp, from_json, whole_folder
from robustray.processors import cores

log = logging.getLogger("robustray")
FORMAT = 2
AT_ONCE = 4096
"""Images decoded between two writes."""


Listing = Sequence[tuple[Stamp, int]]
"""Image files and their classes, in the order of rows."""


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
        about = self._about()
        return f"{about['images']} images {about['content']}"

    @property
    def odd(self) -> dict[str, int]:
        """What is not as a viewer would show it, and of how many images."""
        return dict(self._about()["odd"])

    def _about(self) -> dict[str, Any]:
        with readable(self.folder, f"set of decoded images; remove {self.folder} and it is made anew"):
            about: dict[str, Any] = from_json((self.folder / "about.json").read_text(encoding="utf-8"))
            return {key: about[key] for key in ("images", "content", "odd")}


def decoded(listing: Listing, root: Path, prepare: Preparation, notes: Callable[[], Iterator[str]]) -> Decoded:
    """The decoded form of image files: from the cache where it is, else made.

    Its key is a hash of the preparation and the listing: each file's path below `root`, size, time of change, and class.

    Args:
        notes: what else is to be said when it is made, a line each.

    Raises:
        UserError: a file is no image, images differ in size, or the cache cannot be written.
    """
    there = Decoded(cache() / "decoded" / _key(listing, root, prepare))
    if not there.folder.exists():
        log.info("decoding %d images of %s into %s", len(listing), root, there.folder)
        for note in notes():
            log.info("%s", note)
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
    for (path, size, modified, _), label in listing:
        digest.update(os.fsencode(f"{path[inside:]}\0{size}\0{modified}\0{label}\n"))
    return digest.hexdigest()[:32]


def _make(folder: Path, listing: Listing, prepare: Preparation) -> None:
    """Writes the folder: it is whole or not there, whoever else makes it at the same time."""
    odd = Counter[str]()
    with whole_folder(folder) as aside:
        labels = np.array([label for _, label in listing], dtype=np.int64)
        np.save(aside / "labels.npy", labels)
        with (aside / "images.npy").open("wb") as file:  # no memory map: a full disk would kill the process
            for number, images in enumerate(_images(listing, prepare, odd)):
                if number == 0:
                    shape = (len(listing), *images.shape[1:])
                    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
                file.write(images.data)
            file.flush()
            os.fsync(file.fileno())
        whole = Decoded(aside).load()
        about = {"images": len(labels), "content": content(whole), "odd": odd, **asdict(prepare)}
        (aside / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _images(listing: Listing, prepare: Preparation, odd: Counter[str]) -> Iterator[NDArray[np.uint8]]:
    """Images [n, H, W, C], a few thousand at a time, and counts what is odd. Pillow decodes outside of Python's lock."""
    first: tuple[int, ...] | None = None
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(listing), AT_ONCE):
            paths = [file.path for file, _ in listing[start : start + AT_ONCE]]
            images = []
            for image, found in pool.map(prepare, paths):
                images.append(image)
                odd.update(found)
            for path, image in zip(paths, images, strict=True):
                first = image.shape if first is None else first
                if image.shape != first:
                    raise UserError(
                        f"{path}: is {by(image.shape)}, but {listing[0][0].path} is {by(first)}; set resize and crop"
                    )
            yield np.stack(images)
            if len(listing) > AT_ONCE:
                log.info("%d of %d", start + len(images), len(listing))
