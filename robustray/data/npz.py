"""Images from .npz files: whatever a user has, in two arrays."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from robustray.data.base import DataSource, Images, Split
from robustray.errors import UserError, nearest
from robustray.registry import Count, register


@register
class Npz(DataSource):
    """Two .npz files, each with `images` (uint8, [N, H, W, C] or [N, H, W]) and `labels` (whole numbers, [N])."""

    name: Literal["npz"] = "npz"
    train: str = Field(description="path of the training file; relative paths start at the working directory")
    test: str = Field(description="path of the test file, opened only when a sweep's members are fixed")
    images: Count | None = Field(None, ge=1, description="use only the first so many training images")

    def read(self, split: Literal["train", "test"]) -> Images:
        path = self.train if split == "train" else self.test
        try:
            opened = np.load(path, allow_pickle=False)
            if not isinstance(opened, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: not a readable .npz file (it holds a single array)")
            with opened as arrays:
                for key in ("images", "labels"):
                    if key not in arrays:
                        raise UserError(f"{path}: no array {key!r}; {nearest(key, arrays.files)}")
                images, labels = arrays["images"], arrays["labels"]
        except FileNotFoundError:
            raise UserError(f"{path}: no such file (data: npz, {split})") from None
        except UserError:
            raise
        except Exception as error:  # numpy, zipfile and zlib raise what they like at damaged bytes
            raise UserError(f"{path}: not a readable .npz file ({error})") from None
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise UserError(
                f"{path}: images must be uint8 [N, H, W, C] or [N, H, W], not {images.dtype} {images.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.shape != (len(images),):
            raise UserError(f"{path}: labels must be {len(images)} whole numbers, not {labels.dtype} {labels.shape}")
        if len(labels) == 0 or labels.min() < 0:
            raise UserError(f"{path}: labels must be 0 or more, and at least one")
        if images.ndim == 3:
            images = images[..., None]
        if split == "train" and self.images is not None:
            images, labels = images[: self.images], labels[: self.images]
        return Images(images, labels.astype(np.int64))

    def check(self) -> None:
        for path in (self.train, self.test):
            if not Path(path).is_file():
                raise UserError(f"{path}: no such file (data: npz)")

    def identity(self, split: Split) -> str:
        digest = _digest(Path(self.test if split == "test" else self.train), split)
        return f"npz {digest} {split} {self.validation} {self.images}"


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
