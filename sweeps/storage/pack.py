"""Files of a results folder as one object, for a machine that does not see the folder: what to write, to rename, to delete.

Names are as seen from the results folder. Nothing of a pack is written before all of it is known to be whole, and to lie where
its receiver allows; then files are renamed into place in the order in which a copy is made, so that a receiver that dies
half-way leaves what a killed driver could have left.
"""

from __future__ import annotations

import errno
import os
import threading
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweeps.storage.layout import place
from sweeps.storage.names import why_not
from sweeps.storage.sets import Stamp, changes, look, stamp

LARGEST = 8 * 2**30
"""Bytes of a pack: it lies in memory, here and there, and a trial's files are a few of its states."""
MOST = 100_000
"""Files of a pack."""
_GROWS = ".txt"
"""How logs end, which may grow while they are read."""


class Item(NamedTuple):
    """A file: its name, bytes, time of change in nanoseconds, and the CRC-32 of its content."""

    name: str
    size: int
    modified: int
    check: int


class Move(NamedTuple):
    """A file that got another name since both sides had it: what it was, what it is, and the receiver's stamp of it."""

    name: str
    to: str
    was: Stamp


class Pack(NamedTuple):
    """What changed in a folder. `data` holds the items' contents one after another, as bytes."""

    items: tuple[Item, ...] = ()
    moves: tuple[Move, ...] = ()
    gone: tuple[str, ...] = ()
    data: NDArray[np.uint8] = np.empty(0, np.uint8)

    def __bool__(self) -> bool:
        return bool(self.items or self.moves or self.gone)


class Unfit(Exception):
    """A pack that cannot be made, or must not be written; why, in words."""


def packed(
    folder: Path,
    sets: Collection[str],
    copied: Mapping[str, Stamp],
    *,
    theirs: Mapping[str, Stamp] | None = None,
    wanted: Collection[str] | None = None,
    largest: int = LARGEST,
) -> tuple[Pack, dict[str, Stamp]]:
    """What of some sets of files has changed since the other side got it, each set as it is at one moment.

    Args:
        folder: the results folder, or what stands for it here. sets: names of folders in it, with a slash at the end.
        copied: stamps of the files here that the other side has as they are.
        theirs: its own stamps of them: with these, a state that was only renamed travels as two names.
        wanted: names that may travel; None: all. largest: bytes.

    Returns:
        The pack, and the stamps of its files here.

    Raises:
        Unfit: it would be larger than that, or a file was changed while it was read. Moved: a set kept changing.
        OSError: a file cannot be read.
    """
    items, chunks, moves, gone = list[Item](), list[NDArray[np.uint8]](), list[Move](), list[str]()
    found: dict[str, Stamp] = {}
    total = 0
    for within in sets:
        known = {name: each for name, each in copied.items() if name.startswith(within)}
        left_out = {} if wanted is None else {n: s for n, s in look(folder, within)[0].items() if n not in wanted}
        with changes(folder, within, {**known, **left_out}) as changed:
            for name, file, held in changed.files:
                if theirs is not None and (source := _renamed(held, name, known, theirs)) is not None:
                    moves.append(Move(source, name, theirs[source]))
                    found[name] = held
                    continue
                total += held.size
                if total > largest or len(items) >= MOST:
                    raise Unfit(
                        f"{folder / within}: has more than {largest / 2**30:g} GiB or {MOST} files to send at once"
                    )
                content = _read(name, file, held)
                items.append(Item(name, held.size, held.modified, zlib.crc32(content.data)))
                chunks.append(content)
                found[name] = held
            gone += [name for name in changed.gone if name in known]
    return Pack(tuple(items), tuple(moves), tuple(gone), _joined(chunks)), found


def _renamed(held: Stamp, name: str, known: Mapping[str, Stamp], theirs: Mapping[str, Stamp]) -> str | None:
    """The name that a state had before, where it is one that the other side has: `last.pt` becomes `previous.pt`."""
    if not place(name):
        return None
    same = (each for each, before in known.items() if before == held and each in theirs and place(each))
    return next((each for each in same if each != name and os.path.dirname(each) == os.path.dirname(name)), None)  # noqa: PTH120


def _read(name: str, file: int, held: Stamp) -> NDArray[np.uint8]:
    """As much of an open file as there was when it was looked at."""
    content = np.empty(held.size, np.uint8)
    view, done = content.data, 0
    while done < held.size:
        count = os.preadv(file, [view[done:]], done)
        if not count:
            raise Unfit(f"{name}: became shorter while it was read")
        done += count
    if not name.endswith(_GROWS) and stamp(os.fstat(file)) != held:
        raise Unfit(f"{name}: was changed while it was read")
    return content


def _joined(chunks: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All of them one after another. Each is let go of once it is copied, so that memory holds little more than one of both."""
    data, end = np.empty(sum(chunk.size for chunk in chunks), np.uint8), 0
    chunks.reverse()
    while chunks:
        chunk = chunks.pop()
        data[end : end + chunk.size] = chunk
        end += chunk.size
    return data


def why_unfit(pack: Pack, sets: Collection[str], *, largest: int = LARGEST) -> str | None:
    """Why a pack must not be written; None where it may.

    Args:
        sets: folders of the results folder that it may write to, with a slash at the end. largest: bytes.
    """
    names = [item.name for item in pack.items]
    ours = [*names, *(move.to for move in pack.moves)]
    every = [*ours, *(move.name for move in pack.moves), *pack.gone]
    for name in every:
        if (why := why_not(name)) is not None:
            return f"{name!r} {why}"
        if not any(name.startswith(within) for within in sets):
            return f"{name!r} lies in none of {', '.join(sorted(sets))}"
    if len(set(ours)) < len(ours) or set(ours) & set(pack.gone):
        return "names a file twice"
    if len(every) > MOST:
        return f"names more than {MOST} files"
    sizes = [item.size for item in pack.items]
    if any(size < 0 for size in sizes) or sum(sizes) != pack.data.nbytes or pack.data.dtype != np.uint8:
        return f"holds {pack.data.nbytes} bytes of the {sum(sizes)} that it names"
    if sum(sizes) > largest:
        return f"is larger than {largest / 2**30:g} GiB"
    for item, content in _contents(pack):
        if zlib.crc32(content.data) != item.check:
            return f"{item.name!r} is damaged"
    return None


def unpack(pack: Pack, folder: Path, sets: Collection[str], *, largest: int = LARGEST) -> dict[str, Stamp]:
    """Writes a pack: files that name no others first, then renames, then states that name others; last of all it deletes.

    A state that is not here as the sender thinks is not renamed; it comes as a file, the next time.

    Args:
        folder: the results folder, or what stands for it here; it has to be there. sets, largest: as in `why_unfit`.

    Returns:
        The stamps of the files here that are now what the sender has.

    Raises:
        Unfit: nothing was written. OSError: what was written so far is whole.
    """
    if (why := why_unfit(pack, sets, largest=largest)) is not None:
        raise Unfit(why)
    if not os.path.isdir(folder):  # noqa: PTH112  as in tasks/base.py: a disk that is gone raises
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
    found: dict[str, Stamp] = {}
    contents = sorted(_contents(pack), key=lambda each: place(each[0].name))
    late = [each for each in contents if place(each[0].name)]
    _write_all(folder, [each for each in contents if not place(each[0].name)], found)
    for move in pack.moves:
        with suppress(FileNotFoundError):
            if stamp((folder / move.name).stat()) == move.was:
                (folder / move.name).replace(folder / move.to)
                found[move.to] = stamp((folder / move.to).stat())
    _write_all(folder, late, found)
    for name in pack.gone:
        (folder / name).unlink(missing_ok=True)
    return found


def _contents(pack: Pack) -> Sequence[tuple[Item, NDArray[np.uint8]]]:
    ends = np.cumsum([item.size for item in pack.items], dtype=np.int64)
    return [(item, pack.data[end - item.size : end]) for item, end in zip(pack.items, ends, strict=True)]


def _write_all(folder: Path, contents: Iterable[tuple[Item, NDArray[np.uint8]]], found: dict[str, Stamp]) -> None:
    for item, content in contents:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        found[item.name] = _write(path, content, item.modified)


def _write(path: Path, content: NDArray[np.uint8], modified: int) -> Stamp:
    """A whole file of a certain age: attempts at a trial are told apart by that of its state."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with aside.open("wb") as file:
            file.write(content.data)
            file.flush()
            os.utime(file.fileno(), ns=(modified, modified))
            os.fsync(file.fileno())
            held = stamp(os.fstat(file.fileno()))
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    return held
