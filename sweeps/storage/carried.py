"""A whole folder carried to a store or back by hand, every file compared afterwards by size and SHA-256."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from robustray.errors import UserError
from robustray.files import digest
from sweeps.storage import fetching, layout
from sweeps.storage.kept import Kept
from sweeps.storage.mirror import Mirror
from sweeps.storage.sets import look
from sweeps.storage.store import Store


@dataclass(frozen=True)
class Carried:
    """What was carried: files and bytes on the way, files that were compared, and what could not be named, a line each."""

    files: int
    size: int
    compared: int
    odd: list[str]


def to_store(folder: Path, store: Store) -> Carried:
    """Copies a folder whose driver does not run, in the order in which a copy is whole at any moment, and compares.

    What the copy has already, by size and hash, is not written again; what it has and the folder has not is left.

    Raises:
        Trouble: the store did not take or give something. UserError: a file there is not what it is here.
    """
    there, _ = store.files()
    here, odd = look(folder)
    record = store.read(layout.RECORD)
    kept = Kept(store.url)
    same = {
        name: found
        for name, found in here.items()
        if name in there and there[name].size == found.size and _there(store, name) == digest(folder / name)
    }
    kept.stamps |= same
    Mirror(folder, store, kept).once(last=True)
    if record is not None and (folder / layout.RECORD).exists():
        for name in fetching.orphans(set(there) - set(here), layout.known(record)):
            store.delete(name)
    late = {name: found.size for name, found in here.items() if name not in same}
    return Carried(len(late), sum(late.values()), _compared(folder, store, late) + len(same), odd)


def from_store(store: Store, folder: Path) -> Carried:
    """Brings all of a copy, checkpoints too, and compares.

    Raises:
        Trouble: the store did not give something. UserError: a file here is not what it is there, or there is no sweep.
    """
    done = fetching.fetch(store, folder, Kept(store.url), away=fetching.nothing)
    here, _ = look(folder)
    there, _ = store.files()
    cut_off = set(fetching.orphans(there, layout.known((folder / layout.RECORD).read_bytes())))
    if late := sorted(set(there) - set(here) - cut_off):
        raise UserError(
            f"{store.url}: got {late[0]} while it was brought; run the same command again once nobody writes it"
        )
    return Carried(done.files, done.size, _compared(folder, store, {name: here[name].size for name in here}), done.odd)


def _compared(folder: Path, store: Store, names: dict[str, int]) -> int:
    entries, _ = store.files()
    for name, size in names.items():
        if name not in entries:
            raise UserError(f"{store.url}/{name}: is not there; run the same command again")
        if entries[name].size != size or _there(store, name) != digest(folder / name):
            raise UserError(f"{store.url}/{name}: is not what {folder / name} is; run the same command again")
    return len(names)


def _there(store: Store, name: str) -> str:
    """SHA-256 of a file in a store, which is read for it."""
    with tempfile.TemporaryDirectory(prefix="robustray-") as scratch:
        path = Path(scratch) / "file"
        store.get(name, path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
