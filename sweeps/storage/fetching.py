"""From a copy into a folder: what is there and not here, in an order that leaves a folder which a driver can go on from.

The record comes last, so a fetch that is cut short leaves a folder without one, or with the one it had. Checkpoints of trials
that have ended may stay away: `.elsewhere` in a trial's folder names them, and whoever needs them brings them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.files import from_json, write_whole
from robustray.plain import line
from sweeps.storage import layout, named
from sweeps.storage.kept import Kept
from sweeps.storage.names import checked, why_not
from sweeps.storage.sets import stamp
from sweeps.storage.store import Entry, Store, Trouble

HANDS = 8
"""Files on the way at a time."""
ELSEWHERE = ".elsewhere"
"""In a trial's folder: the copy that has files of it which are not here, and their sizes."""


@dataclass
class Fetched:
    """What a fetch did: files and bytes that came, files that stay away, names that no folder can have."""

    files: int = 0
    size: int = 0
    away: int = 0
    odd: list[str] = field(default_factory=list)


def fetch(store: Store, folder: Path, kept: Kept, *, away: Callable[[str, layout.Known], bool]) -> Fetched:
    """Makes a folder what the copy is. Files that are here alone, and later than the copy, are the caller's business.

    Args:
        kept: what is here already; updated. away: whether a file may stay away, by its name and what the record says.

    Raises:
        Trouble: the store cannot be read. UserError: the copy holds no sweep.
    """
    entries, odd = store.files()
    record = store.read(layout.RECORD)
    if record is None:
        raise UserError(f"{store.url}: no sweep here (no {layout.RECORD})")
    known = layout.known(record)
    done = Fetched(odd=odd)
    far: dict[Path, dict[str, int]] = {}
    wanted: list[str] = []
    for name in sorted(entries, key=lambda name: (layout.place(name), name)):
        if name == layout.RECORD or not layout.known_to(name, known.trials):
            continue  # of a trial that the record does not know: it was cut off in the middle, and will be asked for again
        if _here(folder, name, entries[name], kept):
            continue
        if away(name, known):
            far.setdefault((folder / name).parent, {})[name] = entries[name].size
            continue
        wanted.append(name)
        done.files, done.size = done.files + 1, done.size + entries[name].size
    with ThreadPoolExecutor(HANDS) as pool:
        for _ in pool.map(lambda name: _bring(store, folder, name, entries[name], kept), wanted):
            pass
    for home in {(folder / name).parent for name in entries if layout.heavy(name)}:
        done.away += len(files := far.get(home, {}))
        leave(home, folder, store.url, files)
    for name in [name for name in kept.stamps if name not in entries]:  # deleted there since both had it
        _drop(folder, name, kept)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / layout.RECORD, record)
    done.files, done.size = done.files + 1, done.size + len(record)
    kept.stamps[layout.RECORD] = stamp((folder / layout.RECORD).stat())
    kept.write(folder)
    return done


def orphans(entries: Iterable[str], known: layout.Known) -> list[str]:
    """Files of trials that the record of a copy does not know: a driver was cut off before the record was copied."""
    return [name for name in entries if not layout.known_to(name, known.trials)]


def light(name: str, known: layout.Known) -> bool:
    """Whether a driver that goes on may leave a file away: a checkpoint of a trial that has ended. For `fetch`."""
    return layout.heavy(name) and layout.trial(name) in known.ended


def reading(name: str, known: layout.Known) -> bool:
    """Whether a reader may: every checkpoint. For `fetch`."""
    return layout.heavy(name)


def nothing(name: str, known: layout.Known) -> bool:
    """No file may: for `fetch`."""
    return False


def bring(home: Path) -> int:
    """Brings what stays away of a trial's folder; how many files came. Several processes may do it at once.

    Raises:
        UserError: the copy cannot be read, has it no more, or is none that this user has named.
    """
    try:
        told: Any = from_json((home / ELSEWHERE).read_text(encoding="utf-8"))
        url, up = str(told["url"]), int(told["up"])
        files = {str(name): int(size) for name, size in told["files"].items()}
        url, root = checked(url), (home, *home.parents)[up]
        if up < 0:
            raise ValueError("names no folder above")
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, UserError) as error:
        raise UserError(
            f"{home / ELSEWHERE}: not readable ({line(error)}); python -m sweeps mirror URL FOLDER brings all"
        ) from None
    named.demand(url, home / ELSEWHERE)
    if wrong := [name for name in files if why_not(name) or (root / name).parent != home]:
        raise UserError(f"{home / ELSEWHERE}: names {wrong[0]!r}, which lies elsewhere")
    store, count = Store(url), 0
    for name in sorted(files, key=layout.place):
        if (root / name).exists():
            continue
        try:
            store.get(name, root / name)
        except Trouble as error:
            raise UserError(f"{root / name}: is in {url} alone, which cannot be read ({error}); try again") from None
        if (size := (root / name).stat().st_size) != files[name]:
            raise UserError(f"{root / name}: has {size} bytes, {url} had {files[name]}")
        count += 1
    (home / ELSEWHERE).unlink(missing_ok=True)
    return count


def bring_all(folder: Path) -> int:
    """The same of all folders of a sweep."""
    return sum(bring(path.parent) for path in sorted(folder.glob(f"*/**/{ELSEWHERE}")))


def _here(folder: Path, name: str, entry: Entry, kept: Kept) -> bool:
    """Whether a file is here as it is there: as it was fetched, or as this machine copied it, and neither has changed."""
    with suppress(OSError):
        mine = stamp((folder / name).stat())
        return kept.stamps.get(name) == mine and mine.size == entry.size and kept.tags.get(name) == entry.tag != ""
    return False


def _bring(store: Store, folder: Path, name: str, entry: Entry, kept: Kept) -> None:
    store.get(name, folder / name)
    kept.stamps[name], kept.tags[name] = stamp((folder / name).stat()), entry.tag


def _drop(folder: Path, name: str, kept: Kept) -> None:
    was = kept.stamps.pop(name)
    kept.tags.pop(name, None)
    with suppress(OSError):
        if layout.heavy(name) and stamp((folder / name).stat()) == was:
            (folder / name).unlink()


def leave(home: Path, folder: Path, url: str, files: Mapping[str, int]) -> None:
    """Notes in a trial's folder which of its files a copy alone has, and their sizes in bytes; with none, that it has all."""
    if not files:
        (home / ELSEWHERE).unlink(missing_ok=True)
        return
    home.mkdir(parents=True, exist_ok=True)
    up = len(home.relative_to(folder).parts)
    write_whole(home / ELSEWHERE, json.dumps({"url": url, "up": up, "files": files}))
