"""Data sets in folders of image files."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Hashable, Iterator
from pathlib import Path

from robustray.data.base import Split
from robustray.data.decoded import Decoded, Listing, decoded
from robustray.data.images import Images
from robustray.data.preparation import Preparation
from robustray.data.reading import by
from robustray.data.stored import Stored, TrainTest
from robustray.errors import UserError
from robustray.files import Stamp, young

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


def images(folder: Path) -> list[Stamp]:
    """Image files in a folder and in the folders inside it, as torchvision walks them, sorted by path; hidden ones left out.

    Raises:
        UserError: there is no such folder, it holds none, or a link leads nowhere.
    """
    files = [_image(place) for place in _walk(os.fspath(folder), set()) if _named_so(place)]
    if not files:
        raise UserError(f"{folder}: holds no image; looked for {', '.join(SUFFIXES)}")
    return sorted(files)


def others(folder: Path) -> list[str]:
    """Files in a folder and in the folders inside it that are no images by their names, sorted, hidden ones left out."""
    inside = len(os.path.join(folder, ""))  # noqa: PTH118
    return sorted(place.path[inside:] for place in _walk(os.fspath(folder), set()) if not _named_so(place))


def strays(folder: Path) -> list[str]:
    """Image files in a folder itself, in none of the folders inside it, sorted, hidden ones left out.

    Raises:
        UserError: there is no such folder.
    """
    try:
        with os.scandir(folder) as places:
            found = [place for place in places if not place.name.startswith(".") and _named_so(place)]
            return sorted(place.name for place in found if not place.is_dir())
    except OSError as error:
        raise UserError(f"{folder}: not a readable folder ({error.strerror})") from None


def _named_so(place: os.DirEntry[str]) -> bool:
    return place.name.lower().endswith(SUFFIXES)


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[os.DirEntry[str]]:
    try:
        stat = os.stat(folder)  # noqa: PTH116
        if (stat.st_dev, stat.st_ino) in seen:
            return  # a link back to a folder around it
        seen.add((stat.st_dev, stat.st_ino))
        with os.scandir(folder) as places:  # 100,000 files in half a second, Path objects in three times that
            for place in places:
                if place.name.startswith("."):  # a Mac puts ._00.png beside 00.png
                    continue
                if place.is_dir():
                    yield from _walk(place.path, seen)
                else:
                    yield place
    except OSError as error:
        raise UserError(f"{folder}: not a readable folder ({error.strerror})") from None


def _image(place: os.DirEntry[str]) -> Stamp:
    try:
        stat = place.stat()
    except OSError as error:
        if place.is_symlink():
            raise UserError(f"{place.path}: a link to {os.readlink(place.path)}, which is not there") from None  # noqa: PTH115
        raise UserError(f"{place.path}: cannot be read ({error.strerror})") from None
    return Stamp(place.path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


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
        if self.shape is not None and found.shape != self.shape:
            raise UserError(f"{files[0]}: images must be {by(self.shape)}, not {by(found.shape)}")
        return found

    def counted(self, files: tuple[Path, ...]) -> int:
        return len(self.listing(files, "test"))

    def stamps(self, split: Split) -> Hashable:
        part: TrainTest = "test" if split == "test" else "train"
        files = self.located(part)
        if files[0].suffix == ".npz":
            return super().stamps(split)
        listing = self.listing(files, part)
        while young(max(file.modified for file, _ in listing)):
            listing = self.listing(files, part)
        return tuple(listing)

    def described(self, split: TrainTest) -> str:
        files = self.located(split)
        return super().described(split) if files[0].suffix == ".npz" else self._decoded(files, split).described

    def _decoded(self, files: tuple[Path, ...], split: TrainTest) -> Decoded:
        return decoded(self.listing(files, split), self.home(), self.preparation, lambda: self.left_out(files))

    def left_out(self, files: tuple[Path, ...]) -> Iterator[str]:
        """A line where files are left out that a user may take for images, from the places of a split.

        Published sets have lists and boxes beside their images, of which nothing is said.
        """
        return iter(())

    def notes(self, split: Split) -> Iterator[str]:
        part: TrainTest = "test" if split == "test" else "train"
        files = self.located(part)
        if files[0].suffix == ".npz":
            return
        yield from self.left_out(files)
        for what, count in self._decoded(files, part).odd.items():
            yield f"{files[0]}: {count} {'image is' if count == 1 else 'images are'} {what}"
