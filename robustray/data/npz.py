"""Images from .npz files: whatever a user has, in two arrays."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray.data.base import DataSource, Images, Split
from robustray.data.mapped import member
from robustray.data.reading import Shape, checked, checked_labels, read_arrays, read_npz, readable
from robustray.errors import UserError
from robustray.options.places import PLACE
from robustray.registry import Count, register


@register
class Npz(DataSource):
    """Two .npz files, each with `images` (uint8, [N, H, W, C] or [N, H, W]) and `labels` (whole numbers, [N]).

    Test images must be of the size of those in train, and of its classes.
    """

    name: Literal["npz"] = "npz"
    train: Annotated[str, PLACE] = Field(
        description="path of the training file; relative paths start at the working directory"
    )
    test: Annotated[str, PLACE] = Field(
        description="path of the test file, opened only when a sweep's members are fixed"
    )
    images: Count | None = Field(None, ge=1, description="use only the first so many training images")

    def read(self, split: Literal["train", "test"]) -> Images:
        if split == "test":
            arrays = read_npz(self.test)
            return checked(*arrays, self.test, shape=_shape(*_stamp(self.train)), classes=self.classes)
        whole = checked(*read_npz(self.train), self.train)
        if self.images is not None:
            return Images(whole.images[: self.images], whole.labels[: self.images])
        return whole

    @property
    def classes(self) -> int:
        """Number of classes: labels are read for it, images are not."""
        labels = _labels(*_stamp(self.train))[: self.images]
        return 1 + int(labels.max())

    def check(self) -> None:
        for path in (self.train, self.test):
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file (data: npz)")

    def identity(self, split: Split) -> str:
        digest = _digest(Path(self.test if split == "test" else self.train), split)
        return f"npz {digest} {split} {self.validation} {self.images}"


def _stamp(path: str) -> tuple[Path, int, int]:
    with readable(path, ".npz file"):
        stat = Path(path).stat()
        return Path(path), stat.st_size, stat.st_mtime_ns


@lru_cache(maxsize=16)  # asked for by every model that is built
def _labels(path: Path, size: int, modified: int) -> NDArray[np.int64]:
    return checked_labels(read_arrays(path, "labels")[0], path)


@lru_cache(maxsize=16)
def _shape(path: Path, size: int, modified: int) -> Shape:
    """Of every image: mapped, where the file is not compressed, so that a large set is not read to know it."""
    with readable(path, ".npz file"):
        images = member(path, "images")
    if images is None:
        (images,) = read_arrays(path, "images")
    return checked(images, _labels(path, size, modified), path).images.shape[1:]


def _digest(path: Path, split: str) -> str:
    try:
        stat = path.stat()
        return _hashed(path, stat.st_size, stat.st_mtime_ns)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file (data: npz, {split})") from None
    except OSError as error:
        raise UserError(f"{path}: not a readable .npz file ({error.strerror})") from None


@lru_cache(maxsize=16)  # gigabytes, asked for at every shard
def _hashed(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
