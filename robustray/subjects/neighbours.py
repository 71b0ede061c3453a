"""Modules beside a user's file, whose names may be ours: `analysis`, `sweeps`, `tests` are anybody's."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

OURS = Path(__file__).resolve().parents[2]
"""The folder that this package lies in, with the project's other packages beside it."""
KEPT = "robustray"
"""The one name of ours that user's code is meant to import."""
_INSTALLED = {"analysis", "sweeps", "run_sweep"}
_first: set[Path] = set()
"""Folders that were first once, in this process."""
_CHECKOUT = (OURS / "pyproject.toml").is_file()
"""Else everybody's packages lie in the same folder, and are not ours."""


@contextlib.contextmanager
def first(folder: Path) -> Iterator[None]:
    """While a file of `folder` is imported and makes its network, what lies beside it is found first, as when it is run.

    Packages of ours under such a name step aside and come back, and so do modules from beside another file of the user's: two
    of his networks may each have a `layers.py`. What steps aside stays alive in what imported it. Afterwards the folder is
    searched last: imports inside a function find it, and it hides nobody's package.
    """
    aside = _taken(folder)
    _first.add(folder.resolve())
    finder, there = _Beside(folder), str(folder)
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, there)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        with contextlib.suppress(ValueError):  # a script may write sys.path anew
            sys.path.remove(there)
        if there not in sys.path:
            sys.path.append(there)
        _taken(folder)
        sys.modules.update(aside)


def clash(name: str, folder: Path) -> bool:
    """Whether a module of that name lies in `folder` and among ours; in a checkout, `tests` and the like are ours too."""
    top = name.partition(".")[0]
    ours = top in _INSTALLED or (top != KEPT and _CHECKOUT and _there(top, OURS))
    return ours and _there(top, folder) and folder.resolve() != OURS


def hidden(name: str | None, folder: Path) -> str:
    """`; robustray is found in ...` where a module of a user's package is missing since the package is ours; else ""."""
    if name is None or name.partition(".")[0] != KEPT or folder.resolve() == OURS or not _there(KEPT, folder):
        return ""
    return f"; {KEPT} is the package in {OURS}: the one in {folder} needs another name"


def _taken(folder: Path) -> dict[str, ModuleType]:
    """Takes all modules out of the process whose names lie in `folder` and among ours, whosever they are."""
    tops = {name for name in sys.modules if "." not in name and (clash(name, folder) or _others(name, folder))}
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] in tops}


def _others(name: str, folder: Path) -> bool:
    """Whether a module that is loaded lies beside another file of the user's, and one of that name lies here too."""
    if name == KEPT or not _there(name, folder):
        return False
    file = getattr(sys.modules[name], "__file__", None)
    held = Path(str(file)) if file else Path(next(iter(getattr(sys.modules[name], "__path__", ())), os.devnull))
    beside = held.parent.parent if held.name == "__init__.py" else held.parent
    return beside.resolve() in _first - {folder.resolve()}


def _there(name: str, folder: Path) -> bool:
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


class _Beside(MetaPathFinder):
    """Finds the user's package also where it has no `__init__.py`, which Python's own search passes over for one that has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or not clash(fullname, self.folder):
            return None
        return PathFinder.find_spec(fullname, [str(self.folder)])
