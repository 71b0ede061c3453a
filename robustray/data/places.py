"""Folders in which data lies, or can be kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ROOT = "ROBUSTRAY_DATA"
"""Environment variable: a folder in which every data set has a folder of its name."""


def cache() -> Path:
    """Where this machine keeps what can be made or fetched again: robustray in $XDG_CACHE_HOME, else in ~/.cache.

    A user without a home, as in many a container, has a folder among the temporary ones.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "robustray"
    try:
        return Path.home() / ".cache" / "robustray"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"robustray-{os.getuid()}"


def own_root() -> Path:
    """Where the command line puts data sets: $ROBUSTRAY_DATA where it is set, else ~/.cache/robustray."""
    named = os.environ.get(ROOT)
    return Path(named).expanduser() if named else cache()


def roots() -> tuple[Path, ...]:
    """Folders in which data sets are looked for, in order: $ROBUSTRAY_DATA where it is set, ./data, ~/.cache/robustray."""
    return (
        tuple(dict.fromkeys((own_root(), Path("data"), cache()))) if os.environ.get(ROOT) else (Path("data"), cache())
    )
