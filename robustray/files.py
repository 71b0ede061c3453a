"""Files that are either whole or not there."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

_TICK = 20_000_000
"""Nanoseconds, more than the step in which file systems of today count the times of changes."""

DEEPEST = 100
"""Levels of lists and mappings within each other in JSON that is read; ours have about ten."""
_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


class Stamp(NamedTuple):
    """What tells that a file has changed, without reading it: size in bytes, time of change in nanoseconds, inode."""

    path: str
    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """As it is now; raises OSError where there is no file.

        A file of this very moment is waited for: what is written to it afterwards must have another time.
        """
        while True:
            stat = path.stat()
            if not young(stat.st_mtime_ns):
                return cls(str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


def young(modified: int) -> bool:
    """Whether a file of this time of change may change again without another time; if so, after a wait until it may not."""
    left = modified + _TICK - time.time_ns()
    if 0 < left <= _TICK:  # a clock that is ahead of ours says nothing
        time.sleep(left / 1e9)
        return True
    return False


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file aside, syncs it to disk and renames it into place: a reader sees the old file or the new one.

    The name aside holds the process id, so that two writers of the same content never meet in one half-written file. Text is
    UTF-8; the bytes of a name that is in no encoding are escapes in it.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:  # Ctrl-C too
        with suppress(OSError):  # the cause is the other one
            aside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder aside to fill, which then gets its name: a reader sees all of it or none.

    Where somebody else was faster with the same content, theirs stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def from_json(text: str | bytes) -> Any:
    """What JSON says. All of ours is read by this: Python's reader ends in a RecursionError, which is no ValueError, on text
    that is nested more deeply than its stack is free, and so does whatever walks through what it has read.

    Raises:
        ValueError: it is no JSON, holds a number of too many digits, or is nested more deeply than `DEEPEST`.
    """
    opened = text.count("[") + text.count("{") if isinstance(text, str) else text.count(b"[") + text.count(b"{")
    if opened > DEEPEST and _depth(text) > DEEPEST:
        raise ValueError("is nested too deeply")
    try:
        return json.loads(text)
    except RecursionError:  # the stack was deep before
        raise ValueError("is nested too deeply") from None


def _depth(text: str | bytes) -> int:
    depth = deepest = 0
    for match in _BRACKETS.finditer(text if isinstance(text, str) else text.decode(errors="replace")):
        first = match[0][0]
        if first != '"':
            depth += 1 if first in "[{" else -1
            deepest = max(deepest, depth)
    return deepest


def json_mapping(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Raises:
        OSError: it cannot be read. ValueError: it is no JSON, or holds something else.
    """
    try:
        found = from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path.name}: holds no mapping")
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; remembered until its size or time changes.

    Raises:
        OSError: it cannot be read.
    """
    stat = path.stat()
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=16)  # gigabytes, and asked for at every shard
def _digest(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table with every digit of their numbers; columns in the order of their first appearance."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
