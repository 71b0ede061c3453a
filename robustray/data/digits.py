"""Handwritten digits that come with scikit-learn: real images, nothing to download."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from robustray.data.base import DataSource, Split
from robustray.data.images import Images
from robustray.data.splits import stratified
from robustray.errors import UserError
from robustray.registry import Count, register

TEST_IMAGES = 497


@cache
def _scikit_learn() -> str:
    """Its version: looked up once, for each look reads a file of metadata."""
    return version("scikit-learn")


@register
class Digits(DataSource):
    """1,797 grey 8x8 images of handwritten digits (Alpaydin and Kaynak, UCI, 1998), ten classes.

    The set has no official split: 497 images, stratified, are test for good; of the other 1,300 `validation` are held out.
    Grey levels 0..16 become 0..255. For trying things in minutes; numbers on it say nothing about CIFAR-10.
    """

    name: Literal["digits"] = "digits"
    default: ClassVar[str | None] = None
    validation: Count = Field(400, ge=1, le=1290, description="how many training images are held out to choose by")

    @property
    def classes(self) -> int:
        return 10

    def read(self, split: Literal["train", "test"]) -> Images:
        table = np.loadtxt(_file(), delimiter=",")  # a row per image: 64 grey levels and the class
        images, labels = table[:, :-1], table[:, -1].astype(np.int64)
        test, train = stratified(labels, TEST_IMAGES, "digits test")
        rows = test if split == "test" else train
        pixels = np.rint(images[rows] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        return Images(pixels, labels[rows])

    def test_images(self) -> int:
        return TEST_IMAGES

    def check(self) -> None:
        _file()

    def identity(self, split: Split) -> str:
        return f"scikit-learn {_scikit_learn()} digits {split} {self.validation}"


def _file() -> Path:
    """Where scikit-learn has the images. Not imported: that takes seconds of the first step in every process."""
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise UserError("digits: they come with scikit-learn, which is not installed; pip install scikit-learn")
    path = Path(package.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")
    if not path.is_file():
        raise UserError(f"digits: this scikit-learn has no {path}; install another version of it")
    return path
