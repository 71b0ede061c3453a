"""Arrays of images too large for memory, mapped into it from the file they are published in, or from a copy made once."""

from __future__ import annotations

import hashlib
import logging
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.data.decoded import Decoded
from robustray.data.reading import npy_header
from robustray.data.stored import cache
from robustray.errors import UserError
from robustray.files import whole_folder

log = logging.getLogger("robustray")
_LOCAL_HEADER = struct.Struct("<26xHH")  # a zip member's: lengths of its name and its extra field


def member(path: Path, key: str) -> NDArray[Any] | None:
    """An array of an .npz file, mapped into memory; None where it is compressed, so that its bytes are not in the file.

    Writing to the array changes no file.

    Raises:
        Exception: whatever zipfile, struct and numpy raise at damaged bytes.
    """
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{key}.npy")
    if info.compress_type != zipfile.ZIP_STORED:
        return None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        skip = sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
        file.seek(skip, 1)
        shape, fortran, dtype = npy_header(file)
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        return np.memmap(path, dtype, "c", file.tell(), shape, "F" if fortran else "C")


def copied(path: Path, read: Callable[[], tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> Decoded:
    """The images [N, H, W, C] and labels [N] of a file that cannot be mapped, as plain arrays in the cache.

    Its key is the file's path, size and time of change; the folder is made aside and renamed, whole or not there.

    Raises:
        UserError: the cache cannot be written.
    """
    stat = path.stat()
    named = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    folder = cache() / "arrays" / hashlib.sha256(named.encode()).hexdigest()[:32]
    if folder.exists():
        return Decoded(folder)
    images, labels = read()
    log.info("copying %d images of %s into %s", len(labels), path, folder)
    try:
        with whole_folder(folder) as aside:
            np.save(aside / "images.npy", images)
            np.save(aside / "labels.npy", labels)
    except OSError as error:
        raise UserError(
            f"{folder}: a copy of {path} cannot be written ({error.strerror}); XDG_CACHE_HOME moves the cache"
        ) from None
    return Decoded(folder)
