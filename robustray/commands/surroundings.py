"""What surrounds a process, as `doctor` looks at it: a home, caches, how text is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from robustray import home
from robustray.data import places

Said = tuple[str, Literal["ok", "advice"], str]
"""What was looked at, whether it is well, and a line about it."""
_UTF8 = "utf-8"


def findings() -> Iterator[Said]:
    """All of it, a line each: none of this keeps a sweep from working."""
    yield _home()
    yield from _caches()
    yield _text()


def _home() -> Said:
    there = home.found()
    if there is None or home.lent():
        where = f"what is kept in one lies in {there}" if there else "nor can a folder be made for one"
        return "home", "advice", f"there is none, {where}; set HOME to a folder that stays"
    if not home.writable(there):
        told = (
            f"{there} cannot be written: a sweep's own Ray keeps its token in the environment, other programs may fail"
        )
        return "home", "advice", f"{told}; set HOME to a folder that can be"
    return "home", "ok", f"{there} can be written"


def _caches() -> Iterator[Said]:
    """Packages that a factory of the user's may bring along keep theirs elsewhere, and say so themselves."""
    torch_home = Path(os.environ.get("TORCH_HOME") or places.cache().parent / "torch")
    for folder, holds, variable in (
        (places.cache(), "images that were downloaded or decoded", "XDG_CACHE_HOME"),
        (torch_home, "weights that torch downloads", "TORCH_HOME"),
    ):
        if not home.writable(folder):
            told = f"{folder} cannot be written, where {holds} are kept; set {variable} to a folder that can be"
            yield "cache", "advice", told


def _text() -> Said:
    names, output = sys.getfilesystemencoding().lower(), (sys.stdout.encoding or "none").lower()
    if names == _UTF8 and output == _UTF8:
        return "text", "ok", "names and output are UTF-8"
    told = f"names of files are {names}, output is {output}: what these cannot hold is shown as escapes"
    return "text", "advice", f"{told}; LC_ALL=C.UTF-8 or PYTHONUTF8=1 helps"
