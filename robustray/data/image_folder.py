"""Any folder of images, a folder for every class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from robustray.data.decoded import Listing
from robustray.data.preparation import Preparation
from robustray.data.reading import Shape
from robustray.data.stored import TrainTest
from robustray.data.trees import SUFFIXES, Tree, folders, images, others, strays
from robustray.errors import UserError, nearest
from robustray.registry import Count, register

SHOWN = 3
"""Names of files left out that are said."""


@register
class ImageFolder(Tree):
    """Image files (PNG, JPEG, WebP, BMP, TIFF, PPM) in train/CLASS/ and test/CLASS/, or val/CLASS/ where there is no test/.

    Those in folders inside a class's are of the class too, as torchvision reads them; hidden files are left out.

    Classes are the folders of train/, numbered in the order of their names. Images must end up in one size: `resize` sets
    the shorter side, `crop` cuts a square from the centre. 8 bits a channel; transparency is dropped.
    """

    name: Literal["image_folder"] = "image_folder"
    resize: Count | None = Field(
        None, ge=1, le=4096, description="pixels of the shorter side, bilinear and antialiased; null keeps the size"
    )
    crop: Count | None = Field(
        None, ge=1, le=4096, description="side of the square that is cut from the centre; null cuts nothing"
    )
    channels: Literal[1, 3] = Field(3, description="3 for red, green and blue, 1 for grey")
    obtain: ClassVar[str] = "`path` says where it lies: a folder with train/CLASS/*.png and test/CLASS/*.png, or .jpg"
    takes_npz: ClassVar[bool] = False

    @property
    def shape(self) -> Shape | None:
        return None

    @property
    def classes(self) -> int:
        (train,) = self.located("train")
        return len(folders(train))

    @property
    def preparation(self) -> Preparation:
        return Preparation(self.resize, self.crop, self.channels)

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        if split == "test" and not (home / "test").is_dir() and (home / "val").is_dir():
            return (home / "val",)
        return (home / split,)

    def left_out(self, files: tuple[Path, ...]) -> Iterator[str]:
        (root,) = files
        if found := others(root):
            yield f"{root}: {_left_out(found)}, by the name no image ({_shown(found)}); read are {' '.join(SUFFIXES)}"
        if found := strays(root):
            yield f"{root}: {_left_out(found)}, in the folder of no class ({_shown(found)})"

    def listing(self, files: tuple[Path, ...], split: TrainTest) -> Listing:
        (root,) = files
        names = folders(self.located("train")[0])
        here = folders(root)
        for name in here:
            if name not in names:
                raise UserError(f"{root / name}: no such class in train; {nearest(name, names)}")
        return [(image, names.index(name)) for name in here for image in images(root / name)]


def _left_out(found: list[str]) -> str:
    return f"{len(found)} files are left out" if len(found) > 1 else "1 file is left out"


def _shown(found: list[str]) -> str:
    return ", ".join(found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
