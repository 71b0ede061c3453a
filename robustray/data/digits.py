"""Handwritten digits that come with scikit-learn: real images, nothing to download."""

from __future__ import annotations

from importlib.metadata import version
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from robustray.data.base import DataSource, Images, Split
from robustray.data.splits import stratified
from robustray.registry import Count, register

TEST_IMAGES = 497


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
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        test, train = stratified(labels.astype(np.int64), TEST_IMAGES, "digits test")
        rows = test if split == "test" else train
        pixels = np.rint(images[rows] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
        return Images(pixels, labels[rows].astype(np.int64))

    def identity(self, split: Split) -> str:
        return f"scikit-learn {version('scikit-learn')} digits {split} {self.validation}"
