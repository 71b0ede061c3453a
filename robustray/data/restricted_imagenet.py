"""Restricted ImageNet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from robustray.data.decoded import Listing
from robustray.data.preparation import Preparation
from robustray.data.reading import Shape
from robustray.data.stored import TrainTest
from robustray.data.trees import Tree, folders, images
from robustray.errors import UserError
from robustray.registry import register

IMAGENET = 1000
GROUPS: Mapping[str, tuple[int, int]] = {
    "dog": (151, 268),
    "cat": (281, 285),
    "frog": (30, 32),
    "turtle": (33, 37),
    "bird": (80, 100),
    "primate": (365, 382),
    "fish": (389, 397),
    "crab": (118, 121),
    "insect": (300, 319),
}
"""Classes, and the ImageNet classes each is made of: first and last, both included."""


@register
class RestrictedImageNet(Tree):
    """Restricted ImageNet (Tsipras et al., ICLR 2019, arXiv:1805.12152): nine groups of animals made of 203 classes.

    From ImageNet as it is usually laid out: train/WNID/*.JPEG and val/WNID/*.JPEG (test), a folder for each of the 1,000
    classes; only those of the 203 are opened. Groups are as uneven as in the paper: over half of the images are dogs. The
    paper's images are 224x224; here the shorter side becomes `size` and the centre is cut out.
    """

    name: Literal["restricted_imagenet"] = "restricted_imagenet"
    size: Literal[64, 112] = Field(64, description="pixels of either side")
    obtain: ClassVar[str] = "`path` says where ImageNet lies: a folder with train/WNID/*.JPEG and val/WNID/*.JPEG"

    @property
    def shape(self) -> Shape:
        return self.size, self.size, 3

    @property
    def classes(self) -> int:
        return len(GROUPS)

    @property
    def preparation(self) -> Preparation:
        return Preparation(resize=self.size, crop=self.size, channels=3)

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        return (home / ("train" if split == "train" else "val"),)

    def listing(self, files: tuple[Path, ...], split: TrainTest) -> Listing:
        train = self.located("train")[0]
        names = [name for name in folders(train) if re.fullmatch(r"n\d{8}", name)]
        if len(names) != IMAGENET:
            raise UserError(
                f"{train}: must hold the {IMAGENET} folders of ImageNet's classes, n01440764 and on, not {len(names)}: "
                "classes are told by their place among all"
            )
        return [
            (image, label)
            for label, (first, last) in enumerate(GROUPS.values())
            for name in names[first : last + 1]
            for image in images(files[0] / name)
        ]
