"""Tiny ImageNet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from robustray.data.decoded import Listing
from robustray.data.preparation import Preparation
from robustray.data.reading import Shape, readable
from robustray.data.stored import TrainTest
from robustray.data.trees import Tree, folders, images
from robustray.errors import UserError
from robustray.registry import register

ANNOTATIONS = "val_annotations.txt"


@register
class TinyImageNet(Tree):
    """Tiny ImageNet (Stanford CS231N, 2015): 64x64 colour images of 200 ImageNet classes, 100,000 and 10,000.

    train/WNID/images/*.JPEG, and as test val/images/*.JPEG with val/val_annotations.txt, since its own test has no labels.
    Classes are numbered in the order of their WordNet ids.
    """

    name: Literal["tiny_imagenet"] = "tiny_imagenet"
    obtain: ClassVar[str] = (
        "get tiny-imagenet-200.zip from http://cs231n.stanford.edu and "
        "`python -m robustray data tiny_imagenet --from tiny-imagenet-200.zip`"
    )

    @property
    def shape(self) -> Shape:
        return 64, 64, 3

    @property
    def classes(self) -> int:
        return 200

    @property
    def preparation(self) -> Preparation:
        return Preparation(resize=None, crop=None, channels=3)

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        inner = home / "tiny-imagenet-200"
        root = inner if inner.is_dir() else home
        return (root / "train",) if split == "train" else (root / "val" / ANNOTATIONS,)

    def listing(self, files: tuple[Path, ...], split: TrainTest) -> Listing:
        train = self.located("train")[0]
        names = folders(train)
        if len(names) != self.classes:
            raise UserError(f"{train}: must hold {self.classes} folders of classes, not {len(names)}")
        numbers = {name: number for number, name in enumerate(names)}
        if split == "train":
            return [(image, number) for name, number in numbers.items() for image in images(train / name / "images")]
        return _annotated(files[0], numbers)


def _annotated(path: Path, numbers: dict[str, int]) -> Listing:
    """Lines of file name, class and the corners of a box, with tabs between them."""
    files = {os.path.basename(file.path): file for file in images(path.parent / "images")}  # noqa: PTH119
    with readable(path, "list of annotations"):
        lines = path.read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        file, name = [*line.split("\t"), "", ""][:2]
        if name not in numbers:
            raise UserError(f"{path}:{number}: must be a file name and a class of train, a tab between, not {line!r}")
        if file not in files:
            raise UserError(f"{path}:{number}: there is no {path.parent / 'images' / file}")
        found.append((files[file], numbers[name]))
    if not found:
        raise UserError(f"{path}: holds no annotation")
    return found
