"""Images from .npz files: whatever a user has, in two arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray.data.base import DataSource, Split
from robustray.data.images import Images
from robustray.data.mapped import header, npz
from robustray.data.reading import Shape, checked, checked_labels, length, opened, readable
from robustray.errors import UserError
from robustray.files import Stamp
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
            arrays = npz(self.test)
            return checked(*arrays, self.test, shape=_shape(self._stamp("train")), classes=self.classes)
        whole = checked(*npz(self.train), self.train)
        if self.images is not None:
            return Images(whole.stored[: self.images], whole.labels[: self.images])
        return whole

    def test_images(self) -> int:
        return length(Path(self.test), "labels")

    @property
    def classes(self) -> int:
        """Number of classes: labels are read for it, images are not."""
        labels = _labels(self._stamp("train"))[: self.images]
        return 1 + int(labels.max())

    def check(self) -> None:
        for path in (self.train, self.test):
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file (data: npz)")

    def stamps(self, split: Split) -> Hashable:
        """Of test, those of train too: its shape and classes must be train's."""
        return tuple(self._stamp(each) for each in (("test", "train") if split == "test" else ("train",)))

    def identity(self, split: Split) -> str:
        digest = _hashed(self._stamp("test" if split == "test" else "train"))
        return f"npz {digest} {split} {self.validation} {self.images}"

    def _stamp(self, split: Literal["train", "test"]) -> Stamp:
        path = Path(self.test if split == "test" else self.train)
        try:
            return Stamp.of(path)
        except FileNotFoundError:
            raise UserError(f"{path}: no such file (data: npz, {split})") from None
        except OSError as error:
            raise UserError(f"{path}: not a readable .npz file ({error.strerror})") from None


@lru_cache(maxsize=16)  # asked for by every model that is built
def _labels(stamp: Stamp) -> NDArray[np.int64]:
    with opened(stamp.path, "labels") as arrays:
        return checked_labels(arrays["labels"], stamp.path)


@lru_cache(maxsize=16)
def _shape(stamp: Stamp) -> Shape:
    """Of every image, as the file's header says it: a large set is not read to know it.

    Raises:
        UserError: train holds something else, as its reading says.
    """
    shape, dtype = header(stamp.path, "images")
    if dtype != np.uint8 or len(shape) not in (3, 4):
        return checked(*npz(stamp.path), stamp.path).shape
    unread = np.broadcast_to(np.zeros((), np.uint8), shape)
    return checked(unread, _labels(stamp), stamp.path).shape


@lru_cache(maxsize=16)  # gigabytes, asked for at every shard
def _hashed(stamp: Stamp) -> str:
    with readable(stamp.path, ".npz file"), Path(stamp.path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
