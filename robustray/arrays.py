"""Arrays kept for later in one file: what can be computed again, so that a damaged file is no file."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.files import write_whole


def keep(path: Path, **arrays: NDArray[Any]) -> None:
    """Writes arrays by name, whole or not at all; folders are made."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def kept(path: Path) -> dict[str, NDArray[Any]] | None:
    """What `keep` wrote; None where there is none, or a damaged one."""
    try:
        with np.load(path) as file:  # arrays only: numpy refuses pickles by itself
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
