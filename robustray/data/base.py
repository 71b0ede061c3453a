"""What a data source is: uint8 images and labels in three splits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray.data.images import Images
from robustray.data.pixels import histogram, moments
from robustray.data.splits import stratified
from robustray.errors import UserError
from robustray.registry import Count, Part

__all__ = ["DataSource", "Images", "Split"]
Split = Literal["train", "validation", "test"]


class DataSource(Part):
    """Where images come from. A source reads its own train and test set; validation is always cut from train.

    The cut is stratified and depends on the source and a constant alone, never on a trial's seed.
    """

    kind: ClassVar[str] = "data"
    validation: Count = Field(1000, ge=1, description="how many training images are held out to choose by")

    @abstractmethod
    def read(self, split: Literal["train", "test"]) -> Images:
        """The source's own train or test set, whole. Test is read by no one before a sweep's members are fixed."""

    @abstractmethod
    def identity(self, split: Split) -> str:
        """What tells these images from others: a version, or a hash of the file. Part of a judgement's fingerprint."""

    def stamps(self, split: Split) -> Hashable:
        """What changes when the files of a split do, quick to tell: images that were read before are read anew then.

        A source without files that may change has none.
        """
        return ()

    def notes(self, split: Split) -> Iterator[str]:
        """What a user should know of how a split is read, a line each: files left out, marks not followed.

        Raises:
            UserError: as reading it.
        """
        return iter(())

    def check(self) -> None:
        """Looks whether everything is where it should be, reading no image.

        Raises:
            UserError: something is missing; the message says where it was expected.
        """

    def test_images(self) -> int | None:
        """How many images the test set has, where that can be told without reading an image or a label; None elsewhere.

        Raises:
            UserError: something is missing or damaged.
        """
        return None

    @property
    def classes(self) -> int:
        """Number of classes, those included of which every image is held out."""
        return 1 + max(int(self.load(split).labels.max()) for split in ("train", "validation") if len(self.load(split)))

    def load(self, split: Split) -> Images:
        """One split. Train and validation never touch the test set.

        Raises:
            UserError: the data is missing, broken, or smaller than asked for.
        """
        return _load(self, split, self.stamps(split))

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel of the training split, in pixels of [0, 1]; 1 for a constant channel."""
        mean, std = moments(_counts(self, self.stamps("train")))
        return mean, [value or 1.0 for value in std]


@lru_cache(maxsize=4)  # an actor that runs trial after trial reads its data once
def _load(source: DataSource, split: Split, stamps: Hashable) -> Images:
    if split == "test":
        return source.read("test")
    whole = source.read("train")  # mapped, where it can be: then only rows are taken
    if source.validation > len(whole):
        raise UserError(f"{source.name}: validation is {source.validation}, but train has only {len(whole)} images")
    held_out, rest = stratified(whole.labels, source.validation, "validation")
    return whole.take(held_out if split == "validation" else rest)


@lru_cache(maxsize=4)  # seconds on a large set, and every model that is built asks
def _counts(source: DataSource, stamps: Hashable) -> NDArray[np.int64]:
    train = source.load("train")
    counts = np.zeros((train.shape[2], 256), dtype=np.int64)
    for piece in train.pieces():
        counts += histogram(piece)
    return counts
