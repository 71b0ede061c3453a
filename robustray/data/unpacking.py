"""Archives of data sets, unpacked into the folder where a source looks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

from robustray.data.places import own_root
from robustray.data.reading import readable
from robustray.data.stored import Stored
from robustray.errors import UserError

SUFFIXES = tuple(suffix for _, suffixes, _ in shutil.get_unpack_formats() for suffix in suffixes)
S = TypeVar("S", bound=Stored)


def brought(source: S, path: Path) -> S:
    """The source, reading what lies at `path`.

    A folder in the form that the source reads stays where it is. An archive, or a folder of archives (train.tar.xz beside
    test.tar.xz, say), is unpacked into $ROBUSTRAY_DATA/NAME, else ~/.cache/robustray/NAME: whole, or not at all.

    Raises:
        UserError: nothing there, nothing that the source reads, or the folder to unpack into is taken.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    archives = sorted(place for place in (path.iterdir() if path.is_dir() else (path,)) if _is_archive(place))
    if path.is_dir():
        there = source.model_copy(update={"path": str(path.absolute())})
        try:
            there.check()
        except UserError:
            if not archives:
                raise
        else:
            return there
    if not archives:
        raise UserError(f"{path}: neither a folder nor an archive; known archives: {' '.join(SUFFIXES)}")
    home = own_root() / source.name
    if home.exists():
        raise UserError(f"{home}: is there already; move it away first, or set path to read the data elsewhere")
    return _unpacked(source, path, archives, home)


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SUFFIXES)


def _unpacked(source: S, path: Path, archives: list[Path], home: Path) -> S:
    home.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}."))
    try:
        for archive in archives:
            with readable(archive, "archive"):
                if archive.suffix.lower() == ".zip":
                    shutil.unpack_archive(archive, aside)  # leaves out names that lead elsewhere
                else:
                    shutil.unpack_archive(archive, aside, filter="data")  # refuses them, links and devices too
        found = _inside(source, aside, path)
        found.chmod(0o755)
        found.rename(home)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return source.model_copy(update={"path": str(home.absolute())})


def _inside(source: Stored, aside: Path, path: Path) -> Path:
    """Where the data is in what was unpacked: there, or in the one folder it holds."""
    try:
        source.model_copy(update={"path": str(aside)}).check()
    except UserError as error:
        places = list(aside.iterdir())
        if len(places) == 1 and places[0].is_dir():
            try:
                source.model_copy(update={"path": str(places[0])}).check()
            except UserError:
                pass
            else:
                return places[0]
        raise UserError(str(error).replace(str(aside.absolute()), str(path))) from None
    return aside
