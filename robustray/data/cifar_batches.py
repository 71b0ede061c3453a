"""The python version of CIFAR (https://www.cs.toronto.edu/~kriz/cifar.html): pickled batches of 32x32 colour images."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from robustray.data import mapped
from robustray.data.images import Images
from robustray.data.places import cache
from robustray.data.plain_pickle import read_pickle
from robustray.data.reading import Shape, checked, readable
from robustray.data.stored import Stored, TrainTest
from robustray.errors import UserError, nearest
from robustray.home import writable


class CifarBatches(Stored):
    """Pickled batches in a folder, or in the .tar.gz they come in, which `path` may also name."""

    folder: ClassVar[str]  # inside the archive
    archive: ClassVar[str]
    batches: ClassVar[Mapping[TrainTest, tuple[str, ...]]]
    key: ClassVar[str]  # of the labels

    @property
    def shape(self) -> Shape:
        return 32, 32, 3

    def files(self, home: Path, split: TrainTest) -> tuple[Path, ...]:
        if home.is_file():
            return (home,)
        names, archive = self.batches[split], home / self.archive
        folder = next((place for place in (home, home / self.folder) if (place / names[0]).is_file()), None)
        if folder is None and archive.is_file():
            return (archive,)
        return tuple((folder or home / self.folder) / name for name in names)

    def decode(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        """Of files of some size as a copy that is mapped, so that a machine unpickles them once and not in every process."""
        if sum(file.stat().st_size for file in files) > mapped.SMALL and writable(cache()):
            first, *others = files

            def read() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
                found = self._decoded(files, split)
                return found.images, found.labels

            return mapped.copied(first, read, *others, part=split).load()
        return self._decoded(files, split)

    def _decoded(self, files: tuple[Path, ...], split: TrainTest) -> Images:
        names = self.batches[split]
        if files[0].name == names[0]:
            parts = [self._batch(file, _content(file)) for file in files]
        else:
            found = _members(files[0], self.folder, names)
            parts = [self._batch(files[0] / self.folder / name, found[name]) for name in names]
        return Images(np.concatenate([p.images for p in parts]), np.concatenate([p.labels for p in parts]))

    def _batch(self, path: Path, whole: bytes) -> Images:
        """One batch: `data` uint8 [N, 3072] holds each image as its red, green and blue plane."""
        with readable(path, "CIFAR batch"):
            batch = read_pickle(whole)
            for key in ("data", self.key):
                if key not in batch:
                    raise UserError(f"{path}: no array {key!r}; {nearest(key, batch)}")
            planes, labels = np.asarray(batch["data"]), np.asarray(batch[self.key])
            if planes.ndim != 2 or planes.shape[1] != 3072:
                raise UserError(f"{path}: images must be 3072 bytes each, not {planes.dtype} {planes.shape}")
            images = np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        return checked(images, labels, path, shape=self.shape, classes=self.classes)


def _content(path: Path) -> bytes:
    with readable(path, "CIFAR batch"):
        return path.read_bytes()


def _members(archive: Path, folder: str, names: tuple[str, ...]) -> dict[str, bytes]:
    """Files of an archive by name. Nothing is unpacked to disk; all is read, since checksums are at the very end."""
    found: dict[str, bytes] = {}
    with readable(archive, "tar archive"), tarfile.open(archive) as tar:
        for member in tar:
            place = PurePosixPath(member.name)
            if place.parent.name == folder and place.name in names and (file := tar.extractfile(member)) is not None:
                found[place.name] = file.read()
        while tar.fileobj is not None and tar.fileobj.read(2**20):
            pass
    for name in names:
        if name not in found:
            raise UserError(f"{archive}: holds no {folder}/{name}")
    return found
