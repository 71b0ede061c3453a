"""Arrays of images too large for memory, mapped into it from the file they are published in, or from a copy made once."""

from __future__ import annotations

import hashlib
import logging
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.data.decoded import Decoded
from robustray.data.places import cache
from robustray.data.reading import npy_header, opened
from robustray.errors import UserError
from robustray.files import Stamp, whole_folder

log = logging.getLogger("robustray")
SMALL = 2**25
"""Bytes of images that are read into memory, whatever becomes of the file later."""
_LOCAL_HEADER = struct.Struct("<26xHH")  # a zip member's: lengths of its name and its extra field


def npz(
    path: Path | str, images: str = "images", labels: str = "labels", *, small: int = SMALL, sound: bool = True
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Two arrays of an .npz file, unchecked: the labels read, the images mapped unless they are small.

    A file that is not compressed is mapped as it lies. Of another the two arrays are unpacked once into the cache, a piece
    at a time. Writing to the arrays changes no file.

    Args:
        small: images of at most so many bytes are read. sound: whether a mapped file is read once to see that its bytes are
            as they were written.

    Raises:
        UserError: no such file, no .npz file, damaged, one of the arrays is missing, or the cache cannot be written.
    """
    path = Path(path)
    with opened(path, images, labels) as arrays:
        assert arrays.zip is not None
        info = arrays.zip.getinfo(f"{images}.npy")
        if info.file_size <= small:
            return arrays[images], arrays[labels]
        if info.compress_type != zipfile.ZIP_STORED:
            folder = _copies(Stamp.of(path))
            if not folder.exists():
                _unpack(arrays.zip, path, folder, {"images.npy": f"{images}.npy", "labels.npy": f"{labels}.npy"})
            return np.load(folder / "images.npy", mmap_mode="c", allow_pickle=False), np.load(folder / "labels.npy")
        if sound:
            _seen_whole(Stamp.of(path), info.filename)
        return _map(path, info), arrays[labels]


def header(path: Path | str, key: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and kind of an array of an .npz file, of which no more is read than its first bytes; raises as `npz`."""
    with opened(path, key) as arrays:
        assert arrays.zip is not None
        with arrays.zip.open(f"{key}.npy") as file:
            shape, _, dtype = npy_header(file)
            return shape, dtype


def _map(path: Path, info: zipfile.ZipInfo) -> NDArray[Any]:
    with path.open("rb") as file:
        file.seek(info.header_offset)
        skip = sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        file.seek(skip, 1)
        shape, fortran, dtype = npy_header(file)
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        return np.memmap(path, dtype, "c", file.tell(), shape, "F" if fortran else "C")


@lru_cache(maxsize=16)  # a second for each gigabyte
def _seen_whole(stamp: Stamp, name: str) -> None:
    """Reads a member of an archive, which raises where its checksum is another."""
    with zipfile.ZipFile(stamp.path) as archive, archive.open(name) as file:
        while file.read(2**20):
            pass


def _unpack(archive: zipfile.ZipFile, path: Path, folder: Path, members: dict[str, str]) -> None:
    with _written(path, folder) as aside:
        for name, member in members.items():
            with archive.open(member) as packed, (aside / name).open("wb") as file:
                shutil.copyfileobj(packed, file, 2**20)


def copied(
    path: Path, read: Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]], *more: Path, part: str = ""
) -> Decoded:
    """The images [N, H, W, C] and labels [N] of files that cannot be mapped, as plain arrays in the cache.

    So they are read once on a machine, and all its processes share them.

    Its key is the files' paths, sizes and times of change; the folder is made aside and renamed, whole or not there.

    Args:
        more: files beside the first. part: what of them it is, where they hold several lists.

    Raises:
        UserError: the cache cannot be written.
    """
    folder = _copies(*map(Stamp.of, (path, *more)), part=part)
    if not folder.exists():
        images, labels = read()
        with _written(path, folder) as aside:
            np.save(aside / "images.npy", images)
            np.save(aside / "labels.npy", labels)
    return Decoded(folder)


def _copies(*stamps: Stamp, part: str = "") -> Path:
    named = "\0".join(f"{Path(stamp.path).resolve()}\0{stamp.size}\0{stamp.modified}" for stamp in stamps) + part
    return cache() / "arrays" / hashlib.sha256(named.encode()).hexdigest()[:32]


@contextmanager
def _written(path: Path, folder: Path) -> Iterator[Path]:
    log.info("copying the images of %s into %s", path, folder)
    try:
        with whole_folder(folder) as aside:
            yield aside
    except OSError as error:
        raise UserError(
            f"{folder}: a copy of {path} cannot be written ({error.strerror}); XDG_CACHE_HOME moves the cache"
        ) from None
