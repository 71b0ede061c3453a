"""Code for nodes that have none of it: this package and the modules that a space names, in one folder to be sent once.

A node still needs Python and the libraries (an image of a container, an environment on a shared disk); what changes from day to
day goes along with the sweep. Files that a space names as plugins lie in the folders of its trials anyway.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

from robustray import __version__
from robustray.plugins.sources import is_file
from sweeps.running.evidence import PACKAGES

_UNWANTED = shutil.ignore_patterns("__pycache__", "*.pyc", ".git", ".venv")


def staged(into: Path, plugins: Iterable[str] = ()) -> None:
    """Copies what workers import.

    Args:
        into: an empty folder. plugins: names of files and modules that are loaded; those that are modules are copied too.
    """
    for name in [*PACKAGES, *sorted({plugin.partition(".")[0] for plugin in plugins if not is_file(plugin)})]:
        found = importlib.util.find_spec(name)
        for folder in (found.submodule_search_locations or []) if found is not None else []:
            shutil.copytree(folder, into / name, ignore=_UNWANTED, dirs_exist_ok=True)
        if found is not None and not found.submodule_search_locations and found.origin is not None:
            shutil.copy2(found.origin, into)
    about = into / f"robustray-{__version__}.dist-info"  # whatever version is installed there, this is the one at work
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: robustray\nVersion: {__version__}\n")
