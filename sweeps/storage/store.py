"""A place in an object store, by fsspec: whole files under names, listed, read, written, created once, deleted."""

from __future__ import annotations

import inspect
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.plain import line
from sweeps.storage.names import checked, why_not

_OBJECTS = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
"""Protocols of stores in which a file that is being written is not seen before it is whole."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 2}}},
}
_EXTRAS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}


class Trouble(Exception):
    """The store did not do what it was asked to: slow, absent, refusing. The message is one line."""


@dataclass(frozen=True)
class Entry:
    """A file of a listing: its size in bytes, and what tells this content from another of the same name."""

    size: int
    tag: str


class Store:
    """A folder at a URL. Every method may raise `Trouble`.

    Where a protocol shows files that are half written (`file://`, `sftp://`), they are written aside and renamed.
    """

    def __init__(self, url: str) -> None:
        """Reaches for nothing yet.

        Raises:
            UserError: no such protocol, or its library is not installed.
        """
        import fsspec

        self.url = checked(url)
        self.protocol = url.partition(":")[0].lower()
        try:
            options = _OPTIONS.get("s3" if self.protocol == "s3a" else self.protocol, {})
            made = fsspec.core.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True, **options)
        except ImportError as error:
            library = _EXTRAS.get(self.protocol) or error.name or "its library"
            raise UserError(f"{self.url}: {library} is not installed; pip install {library}") from None
        except ValueError as error:
            raise UserError(f"{self.url}: {line(error)}; s3://bucket/path, gs://bucket/path are places") from None
        self._system, self._root = made[0], str(made[1]).rstrip("/")
        self._objects = self.protocol in _OBJECTS

    def __truediv__(self, name: str) -> Store:
        """The store of a folder within."""
        return Store(f"{self.url}/{name}")

    def files(self, within: str = "") -> tuple[dict[str, Entry], list[str]]:
        """The files within.

        Returns:
            Those that can be files of a folder, by name, and why others cannot, a line each; files that begin with a dot and
            marks of folders are not mentioned.
        """
        root = self._root + "/"
        with _told(self.url):
            self._system.invalidate_cache()
            try:
                found = self._system.find(f"{self._root}/{within}".rstrip("/"), detail=True)
            except FileNotFoundError:
                found = {}
        entries: dict[str, Entry] = {}
        odd: list[str] = []
        for path, about in found.items():
            name = str(path)
            name = name[len(root) :] if name.startswith(root) else f"/{name}"
            why = why_not(name)
            if why is None:
                entries[name] = Entry(int(about.get("size") or 0), _tag(about))
            elif why not in ("is a folder", "begins with a dot"):
                odd.append(f"{name!r} {why}")
        return entries, odd

    def names(self, folder: str) -> list[str]:
        """Names of what lies in one folder, those with dots too."""
        with _told(self.url):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(f"{self._root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        return sorted(str(path).rstrip("/").rpartition("/")[2] for path in found)

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is none."""
        with _told(self.url):
            try:
                content: bytes = self._system.cat_file(self._path(name))
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Writes a file, whole or not at all."""
        self._whole(name, lambda path: self._system.pipe_file(path, content))

    def put(self, name: str, path: str) -> None:
        """Writes a file from one of this machine."""
        self._whole(name, lambda there: self._system.put_file(path, there))

    def get(self, name: str, path: Path) -> None:
        """Brings a file here, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with _told(self.url):
                self._system.get_file(self._path(name), str(aside))
            with aside.open("rb") as file:
                os.fsync(file.fileno())
            aside.replace(path)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Deletes a file; one that is not there is no trouble."""
        with _told(self.url), suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    def create(self, name: str, content: bytes) -> bool:
        """Writes a file that is not there; False where it is. Of two that do it at once one alone does, see `exclusive`."""
        path = self._path(name)
        with _told(self.url):
            try:
                if self.protocol in ("file", "local"):
                    self._system.makedirs(self._system._parent(path), exist_ok=True)
                    with self._system.open(path, "xb") as file:
                        file.write(content)
                else:
                    self._system.pipe_file(path, content, mode="create")
            except FileExistsError:
                return False
        return True

    def exclusive(self) -> bool:
        """Whether `create` is decided by the store itself (`If-None-Match`), as seen by trying; else it looks, then writes.

        Raises:
            Trouble: it cannot be written at all.
        """
        own = getattr(self._system, "_pipe_file", None)
        if self.protocol not in ("file", "local", "memory") and (
            own is None or "mode" not in inspect.signature(own).parameters
        ):
            return False
        name = f".lease/tried-{uuid.uuid4().hex}"
        try:
            found = self.create(name, b"1") and not self.create(name, b"2")
        except Trouble:  # a store may refuse what it does not know
            self.write(name, b"3")  # unless it refuses everything
            found = False
        self.delete(name)
        return found

    def move(self, other: Store) -> int:
        """Moves all files to another place of the same store; how many. All are there before the first is deleted."""
        entries, _ = self.files()
        for name in entries:
            with _told(self.url):
                if not self._objects:
                    self._system.makedirs(self._system._parent(other._path(name)), exist_ok=True)
                self._system.cp_file(self._path(name), other._path(name))
        for name in sorted(
            entries, key=lambda name: name != "study.journal"
        ):  # without it nothing goes on from the rest
            self.delete(name)
        return len(entries)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _whole(self, name: str, write: Callable[[str], None]) -> None:
        path = self._path(name)
        with _told(self.url):
            if self._objects:
                write(path)
                return
            parent, _, last = path.rpartition("/")
            aside = f"{parent}/.{last}.{uuid.uuid4().hex[:8]}"
            self._system.makedirs(parent, exist_ok=True)
            try:
                write(aside)
                self._system.mv(aside, path)
            except BaseException:
                with suppress(Exception):  # the cause is the other one
                    self._system.rm_file(aside)
                raise


def _tag(about: dict[str, Any]) -> str:
    for key in ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "created"):
        if about.get(key) is not None:
            return str(about[key])
    return ""


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Whatever a store's library raises, as trouble. What it does not find is for the caller to say."""
    try:
        yield
    except (Trouble, FileExistsError):
        raise
    except FileNotFoundError as error:
        raise Trouble(f"{url}: not there ({line(error)})") from error
    except PermissionError as error:
        raise Trouble(f"{url}: refused ({line(error)})") from error
    except Exception as error:  # every library has its own
        raise Trouble(f"{url}: {type(error).__name__}: {line(error)}") from error
