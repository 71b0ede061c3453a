"""Files of a results folder as they are at one moment, held open until they are copied."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from sweeps.storage.layout import place
from sweeps.storage.names import why_not


class Stamp(NamedTuple):
    """What tells that a file has changed, without reading it: size in bytes, time of change in nanoseconds, inode.

    All files but tables and logs are renamed into place: those have another inode each time.
    """

    size: int
    modified: int
    inode: int


class Moved(Exception):
    """A set of files kept changing while it was looked at."""


def look(folder: Path, within: str = "") -> tuple[dict[str, Stamp], list[str]]:
    """The files within, by name, and those that cannot be named in a store, a line each.

    What begins with a dot is a lock or half written, and left out. So are links and whatever is no plain file: what they
    lead to is not the sweep's.
    """
    found: dict[str, Stamp] = {}
    odd: list[str] = []
    waiting = [within.rstrip("/")]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(folder / here) as entries:
                for entry in entries:
                    name = f"{here}/{entry.name}" if here else entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(name)
                        continue
                    about = entry.stat(follow_symlinks=False)
                    if not stat.S_ISREG(about.st_mode):
                        continue
                    if (why := why_not(name)) is not None:
                        odd.append(f"{name!r} {why}")
                    else:
                        found[name] = stamp(about)
        except (FileNotFoundError, NotADirectoryError):  # renamed or deleted meanwhile
            continue
    return found, odd


def stamp(about: os.stat_result) -> Stamp:
    """Of what the system says of a file."""
    return Stamp(about.st_size, about.st_mtime_ns, about.st_ino)


class Changes(NamedTuple):
    """What a copy lacks of a set: open files with their stamps, in the order in which they are copied, and names to delete."""

    files: list[tuple[str, int, Stamp]]
    gone: list[str]


@contextmanager
def changes(folder: Path, within: str, copied: Mapping[str, Stamp], tries: int = 3) -> Iterator[Changes]:
    """What has changed in a set since it was copied, all of it as it is at one moment.

    Changed files are opened, and the set is looked at again: where nothing else has changed meanwhile, the open files are what
    lay there together, whatever is renamed over them from now on. Logs may grow.

    Args:
        within: the set; "" for none but the files of the folder itself. copied: stamps of what the copy has.

    Raises:
        Moved: it kept changing. OSError: a file cannot be read.
    """
    opened: list[tuple[str, int, Stamp]] = []
    try:
        for _ in range(tries):
            before, _ = look(folder, within)
            new = {name: found for name, found in before.items() if copied.get(name) != found}
            opened = [held for name, found in new.items() if (held := _open(folder, name, found)) is not None]
            after, _ = look(folder, within)
            if len(opened) == len(new) and _shape(before) == _shape(after):
                break
            _close(opened)
        else:
            raise Moved(within)
        opened.sort(key=lambda held: (place(held[0]), held[2].modified))
        gone = [name for name in copied if name.startswith(within) and name not in before]
        yield Changes(opened, gone)
    finally:
        _close(opened)


def _shape(found: Mapping[str, Stamp]) -> dict[str, object]:
    return {name: each.inode if name.endswith(".txt") else each for name, each in found.items()}


def _open(folder: Path, name: str, expected: Stamp) -> tuple[str, int, Stamp] | None:
    try:
        file = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    held = stamp(os.fstat(file))
    if held.inode != expected.inode:
        os.close(file)
        return None
    return name, file, held


def _close(opened: list[tuple[str, int, Stamp]]) -> None:
    while opened:
        os.close(opened.pop()[1])
