"""Data sets in folders of image files."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path

from robustray.data.base import Images
from robustray.data.decoded import Decoded, ImageFile, Listing, Preparation, decoded
from robustray.data.reading import by
from robustray.data.stored import Stored, TrainTest
from robustray.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""What torchvision's ImageFolder takes."""


def folders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out.

    Raises:
        UserError: there is no such folder, or it holds none.
    """
    try:
        names = sorted(place.name for place in root.iterdir() if place.is_dir() and not place.name.startswith("."))
    except OSError as error:
        raise UserError(f"{root}: not a readable folder ({error.strerror})") from None
    if not names:
        raise UserError(f"{root}: holds no folders; there must be one for every class")
    return names


def images(folder: Path) -> list[ImageFile]:
    """Image files in a folder and in the folders inside it, as torchvision walks them, sorted by path; hidden ones left out.

    Raises:
        UserError: there is no such folder, it holds none, or a link leads nowhere.
    """
    files: list[ImageFile] = []
    _walk(os.fspath(folder), files, set())
    if not files:
        raise UserError(f"{folder}: holds no image; looked for {', '.join(SUFFIXES)}")
    return sorted(files)


def _walk(folder: str, files: list[ImageFile], seen: set[tuple[int, int]]) -> None:
    try:
        stat = os.stat(folder)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:
            return  # a link back to a folder around it
        seen.add((stat.st_dev, stat.st_ino))
        with os.scandir(
            folder
        ) as places:  # a hundred thousand files in half a second, Path objects in three times that
            for place in places:
                if place.name.startswith("."):  # a Mac puts ._00.png beside 00.png
                    continue
                if place.is_dir():
                    _walk(place.path, files, seen)
                elif place.name.lower().endswith(SUFFIXES):
                    files.append(_image(place))
    except OSError as error:
        raise UserError(f"{folder}: not a readable folder ({error.strerror})") from None


def _image(place: os.DirEntry[str]) -> ImageFile:
    try:
        stat = place.stat()
    except FileNotFoundError:
        if place.is_symlink():
            raise UserError(f"{place.path}: a link to {os.readlink(place.path)}, which is not there") from None  # noqa: PTH115
        raise
    return ImageFile(place.path, stat.st_size, stat.st_mtime_ns)


class Tree(Stored):
    """Folders of image files, decoded once into uint8 arrays under ~/.cache/robustray/decoded, then mapped into memory."""

    @property
    @abstractmethod
    def preparation(self) -> Preparation:
        """What is made of every file."""

    @abstractmethod
    def listing(self, files: tuple[Path, ...], split: TrainTest) -> Listing:
        """The image files of a split, whose places are `files`.

        Raises:
            UserError: something is not as it must be.
        """

    def decode(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        found = self._decoded(files, split).load()
        if self.shape is not None and found.images.shape[1:] != self.shape:
            raise UserError(f"{files[0]}: images must be {by(self.shape)}, not {by(found.images.shape[1:])}")
        return found

    def counted(self, files: tuple[Path, ...]) -> int:
        return len(self.listing(files, "test"))

    def described(self, split: TrainTest) -> str:
        files = self.located(split)
        return super().described(split) if files[0].suffix == ".npz" else self._decoded(files, split).described

    def _decoded(self, files: tuple[Path, ...], split: TrainTest) -> Decoded:
        return decoded(self.listing(files, split), self.home(), self.preparation)
