"""IDX files (http://yann.lecun.com/exdb/mnist): a header of big-endian numbers, then unsigned bytes."""

from __future__ import annotations

import gzip
import math
import struct
from io import BufferedReader
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robustray.data.images import Images
from robustray.data.reading import Shape, checked, readable
from robustray.data.stored import Stored, TrainTest
from robustray.errors import UserError

UNSIGNED_BYTE = 8


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes, gzipped where its name ends in .gz.

    Raises:
        UserError: not such a file, or not all of it.
    """
    with readable(path, "IDX file"), _opened(path) as file:
        whole = file.read()
    magic, header = bytes((0, 0, UNSIGNED_BYTE, dimensions)), 4 + 4 * dimensions
    if whole[:4] != magic or len(whole) < header:
        raise UserError(f"{path}: not an IDX file of bytes in {dimensions} dimensions; it begins with {whole[:4]!r}")
    sides = struct.unpack(f">{dimensions}I", whole[4:header])
    if len(whole) != header + math.prod(sides):
        raise UserError(
            f"{path}: holds {len(whole) - header} bytes where its header says {math.prod(sides)}; fetch it again"
        )
    return np.frombuffer(whole, np.uint8, offset=header).reshape(sides).copy()


class IdxFiles(Stored):
    """Ten classes of grey 28x28 images in four IDX files, each as it is or gzipped; also where torchvision puts them."""

    dataset: ClassVar[str]

    @property
    def shape(self) -> Shape:
        return 28, 28, 1

    @property
    def classes(self) -> int:
        return 10

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        folders = (home, home / "raw", home / self.dataset / "raw")
        folder = next((place for place in folders if _file(place, "train-images-idx3-ubyte").is_file()), home)
        stem = "train" if split == "train" else "t10k"
        return _file(folder, f"{stem}-images-idx3-ubyte"), _file(folder, f"{stem}-labels-idx1-ubyte")

    def decode(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        images, labels = files
        return checked(
            read_idx(images, 3),
            read_idx(labels, 1),
            images,
            labels_path=labels,
            shape=self.shape,
            classes=self.classes,
        )

    def counted(self, files: tuple[Path, ...]) -> int:
        with readable(files[1], "IDX file"), _opened(files[1]) as file:
            header = file.read(8)
            if header[:4] != bytes((0, 0, UNSIGNED_BYTE, 1)):
                raise UserError(f"{files[1]}: not an IDX file of bytes in 1 dimensions; it begins with {header[:4]!r}")
            return int.from_bytes(header[4:], "big")


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")


def _file(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.is_file() and not (folder / name).is_file() else folder / name
