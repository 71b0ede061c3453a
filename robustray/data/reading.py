"""Images and labels as files hold them, checked before anything relies on them. Every message names the file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from robustray.data.images import Images
from robustray.errors import UserError, nearest

_CHANNELS = 4
"""No image has more: grey, grey with transparency, colour, colour with transparency."""
Shape = tuple[int, int, int]
"""Height, width and channels."""


@contextmanager
def readable(path: Path | str, kind: str) -> Iterator[None]:
    """Around the reading of a file: whatever a library raises at damaged bytes becomes one line.

    Raises:
        UserError: `path` is missing, or is no whole `kind`.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # numpy, zlib, pickle, tarfile, scipy and Pillow raise what they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: not a readable {kind} ({reason})") from None


def length(path: Path, key: str) -> int:
    """How many rows an array of an .npz file has: its header says so, and no more is read, compressed or not.

    Raises:
        UserError: `path` is missing, or no whole .npz file with that array.
    """
    with readable(path, ".npz file"), zipfile.ZipFile(path) as archive, archive.open(f"{key}.npy") as file:
        return int(npy_header(file)[0][0])


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the array that an .npy file holds."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


@contextmanager
def opened(path: Path | str, *keys: str) -> Iterator[np.lib.npyio.NpzFile]:
    """An .npz file that holds arrays of these names; what is not asked for stays in the file.

    Raises:
        UserError: no such file, not an .npz file, damaged where it is read, or one of the arrays is missing.
    """
    with readable(path, ".npz file"):
        with Path(path).open("rb") as file:
            if file.read(2) not in (b"PK", b"\x93N"):  # numpy would suggest to allow pickles
                raise UserError(f"{path}: not a readable .npz file (it does not begin like one)")
        there = np.load(path, allow_pickle=False)
        if not isinstance(there, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: not a readable .npz file (it holds a single array)")
        with there as arrays:
            for key in keys:
                if key not in arrays:
                    raise UserError(f"{path}: no array {key!r}; {nearest(key, arrays.files)}")
            try:
                yield arrays
            except ValueError as error:
                if "allow_pickle" in str(error):  # numpy's advice, which would run whatever code the file names
                    raise UserError(
                        f"{path}: not a readable .npz file (an array of it holds objects, not numbers)"
                    ) from None
                raise


def checked(
    images: NDArray[Any],
    labels: NDArray[Any],
    path: Path | str,
    *,
    labels_path: Path | str | None = None,
    shape: Shape | None = None,
    classes: int | None = None,
) -> Images:
    """Arrays of a file as images and labels.

    Args:
        images: uint8 [N, H, W, C], or [N, H, W] for one channel. labels: whole numbers [N].
        path: the file they are of. labels_path: the file of the labels, where it is another.
        shape: what every image must be; None takes any.
        classes: labels must be below; None takes any number from 0.

    Raises:
        UserError: they are anything else.
    """
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise UserError(
            f"{path}: images must be uint8 [N, H, W, C] or [N, H, W], not {images.dtype} {images.shape}{_range(images)}"
            f"{_remedy(images)}"
        )
    if images.ndim == 3:
        images = images[..., None]
    if images.shape[3] > _CHANNELS and images.shape[1] in (1, 3):
        raise UserError(
            f"{path}: images are {by(images.shape[1:])}, but channels come last: save images.transpose(0, 2, 3, 1)"
        )
    if shape is not None and images.shape[1:] != shape:
        raise UserError(f"{path}: images must be {by(shape)}, not {by(images.shape[1:])}")
    where = path if labels_path is None else labels_path
    if labels.shape != (len(images),):
        raise UserError(f"{where}: labels must be {len(images)} whole numbers, not {labels.dtype} {labels.shape}")
    return Images(images, checked_labels(labels, where, classes=classes))


def checked_labels(labels: NDArray[Any], path: Path | str, *, classes: int | None = None) -> NDArray[np.int64]:
    """Labels of a file as int64 [N].

    Raises:
        UserError: they are not whole numbers from 0, below `classes` where that is said.
    """
    if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
        raise UserError(f"{path}: labels must be {len(labels)} whole numbers, not {labels.dtype} {labels.shape}")
    if len(labels) == 0 or labels.min() < 0:
        raise UserError(f"{path}: labels must be 0 or more, and at least one")
    if classes is not None and labels.max() >= classes:
        raise UserError(f"{path}: labels must be 0 to {classes - 1}, but there is {labels.max()}")
    return labels.astype(np.int64)


def content(whole: Images) -> str:
    """SHA-256 of images and labels as they are in memory, whatever file they came in."""
    digest = hashlib.sha256(repr((len(whole), *whole.shape)).encode())
    for piece in whole.pieces():
        digest.update(np.ascontiguousarray(piece).data)
    digest.update(np.ascontiguousarray(whole.labels, dtype="<i8").data)
    return digest.hexdigest()


def by(sides: tuple[int, ...]) -> str:
    """`32x32x3`."""
    return "x".join(map(str, sides))


def _remedy(array: NDArray[Any]) -> str:
    """How to save images of another type, where their range says what they are."""
    if array.dtype == np.uint8 or array.dtype.kind not in "buif" or not array.size:
        return ""
    least, most = float(array.min()), float(array.max())
    if array.dtype.kind == "b" or (array.dtype.kind == "f" and least >= 0 and most <= 1):
        formula = "round(255 * images)"
    elif array.dtype.kind == "f" and least >= -1 and most <= 1:
        formula = "round(127.5 * (images + 1))"
    elif least >= 0 and most <= 255:
        formula = "round(images)" if array.dtype.kind == "f" else "images"
    elif array.dtype == np.uint16:
        formula = "round(images / 257)"
    else:
        return ""
    return f"; save {formula} as uint8"


def _range(array: NDArray[Any]) -> str:
    number = array.size and (np.issubdtype(array.dtype, np.number) or array.dtype == np.bool_)
    return f" from {float(array.min()):.5g} to {float(array.max()):.5g}" if number else ""
