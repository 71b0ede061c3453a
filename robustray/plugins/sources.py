"""Where a plugin is found: a file, a module that is installed, a copy in a folder of results."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import NamedTuple

from robustray.errors import UserError
from robustray.plain import line

FOLDER = "plugins"
"""In a folder of results: copies of the files that it names, each below the beginning of its hash."""


class Source(NamedTuple):
    """Where a plugin is found: a file, or a module that is installed."""

    name: str
    place: Path
    content: bytes
    module: str | None = None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def is_file(name: str) -> bool:
    return name.endswith(".py")


def file_at(path: Path) -> Source:
    try:
        return Source(path.name, path.absolute(), path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; a sweep that was begun with it keeps a copy in its results, under {FOLDER}"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def module_named(name: str) -> Source:
    try:
        found: ModuleSpec | None = importlib.util.find_spec(name)
    except Exception as error:  # of a package around it, whose code runs
        raise UserError(f"{name}: {type(error).__name__}: {line(error)}") from None
    if found is None:
        raise UserError(f"{name}: no module of this name is installed; a file ends in .py")
    if not found.origin or not found.origin.endswith(".py"):
        raise UserError(f"{name}: is no module of Python source, whose content could be told")
    place = Path(found.origin)
    if place.name != "__init__.py":
        return Source(name, place, place.read_bytes(), name)
    files = sorted(place.parent.rglob("*.py"))
    content = b"".join(b"%s\0%s\0" % (os.fsencode(path.relative_to(place.parent)), path.read_bytes()) for path in files)
    return Source(name, place, content, name)


def place_of(name: str, fingerprint: str, folder: Path) -> Path:
    return folder.absolute() / FOLDER / fingerprint[:16] / name


def copy_in(name: str, fingerprint: str, folder: Path) -> Source:
    """What a record names, wherever it is now."""
    if not is_file(name):
        source = module_named(name)
        if source.fingerprint != fingerprint:
            raise UserError(
                f"{folder}: was made with another version of the module {name} ({fingerprint[:12]}, here it is "
                f"{source.fingerprint[:12]}); install that one"
            )
        return source
    place = place_of(name, fingerprint, folder)
    try:
        source = Source(name, place, place.read_bytes())
    except OSError as error:
        raise UserError(
            f"{place}: {error.strerror}; it is the plugin {name} that {folder} was made with: copy it there as well"
        ) from None
    if source.fingerprint != fingerprint:
        raise UserError(
            f"{place}: is not the plugin that {folder} was made with (its hash begins with "
            f"{source.fingerprint[:12]}, that of the record with {fingerprint[:12]}); put that one back"
        )
    return source
