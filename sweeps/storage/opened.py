"""A sweep whose results are at a URL: its folder here, made what it has to be, and the copy kept up while a driver works."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

import yaml

from robustray.disks import told
from robustray.errors import UserError
from robustray.options.recorded import recorded
from sweeps.storage import fetching, layout, lease, mirror, named, names
from sweeps.storage.kept import Kept
from sweeps.storage.lease import Lease
from sweeps.storage.mirror import Keeping, Mirror
from sweeps.storage.store import Store, Trouble

Say = Callable[[str], None]
PATIENCE = 120.0
"""Seconds for which a store in trouble is tried again when a sweep ends."""


class Place:
    """A sweep's folder, and its copy where it has one.

    Attributes:
        folder: the folder here. lacks: why the copy is not whole, once the block has ended; None if it is.
    """

    def __init__(self, folder: Path, say: Say) -> None:
        self.folder = folder
        self.lacks: str | None = None
        self._say = say

    def say_by(self, say: Say) -> None:
        """Says lines by this from now on: a driver shows them among its own."""
        self._say = say

    def say(self, line: str) -> None:
        """Says a line."""
        self._say(line)


@contextlib.contextmanager
def results_of(results: str, name: str, say: Say, *, fresh: bool = False) -> Iterator[Place]:
    """Where a sweep's results lie, by what `--results` says: a folder, or a URL as for `opened`."""
    if names.is_url(results):
        with opened(results, name, say, fresh=fresh) as place:
            yield place
    else:
        yield Place(Path(results) / name, say)


@contextlib.contextmanager
def opened(
    url: str,
    name: str,
    say: Say,
    *,
    fresh: bool = False,
    results: Path = Path("results"),
    every: float = mirror.EVERY,
    lease_every: float = lease.EVERY,
    patience: float = PATIENCE,
) -> Iterator[Place]:
    """Takes the lease of a copy, brings what a driver needs to go on, and copies all that happens in the block.

    Args:
        url: of results, as `--results` has it; the sweep's own are at URL/NAME. say: takes a line for the user.
        fresh: rename the old copy, as the caller renames the folder. results: where folders for URLs lie.
        every: seconds between two passes. lease_every: between two renewals. patience: seconds for the last pass.

    Raises:
        UserError: another driver works on this copy, the store cannot be reached, or what it holds is no sweep.
    """
    url = names.checked(url)
    folder, store = names.cache(url, results) / name, Store(f"{url}/{name}")
    named.remember(store.url)
    place = Place(folder, say)
    try:
        held = _leased(store, place.say, lease_every)
    except Trouble as error:
        raise UserError(
            f"{error}; a sweep begins where its copy can be reached; --results FOLDER runs without one, and python -m sweeps "
            "mirror copies a folder later"
        ) from None
    try:
        try:
            kept = _settled(store, folder, held, say, fresh=fresh)
        except Trouble as error:
            raise UserError(f"{error}; try again") from None
        except OSError as error:
            raise UserError(told(error)) from None
        say(f"results: {folder}, copied to {store.url}")
        made = Mirror(folder, store, kept, held.sure)
        keeping = Keeping(made, place.say, every=every)
        try:
            yield place
        finally:
            place.say_by(say)
            _finish(place, made, keeping, held, patience)
    finally:
        held.release()


def _finish(place: Place, made: Mirror, keeping: Keeping, held: Lease, patience: float) -> None:
    """Makes the copy whole, or says what it lacks: also where somebody gives up waiting for it."""
    stopped = True
    try:
        keeping.close()
        whole = keeping.finish(patience)
        stopped = False
        made.note()
    finally:
        if stopped or not whole:
            place.lacks = _unfinished(made, held, "it was stopped at once" if stopped else keeping.trouble)
        if place.lacks is not None:
            place.say(place.lacks)


@contextlib.contextmanager
def lease_of(store: Store, say: Say) -> Iterator[Lease]:
    """The lease of a copy, for the time of the block.

    Raises:
        UserError: somebody is at work on it. Trouble: the store cannot be reached.
    """
    held = _leased(store, say, lease.EVERY)
    try:
        yield held
    finally:
        held.release()


def _leased(store: Store, say: Say, every: float) -> Lease:
    exclusive = store.exclusive()
    if not exclusive:
        say(
            f"warning: {store.url}: this store does not decide which of two drivers that begin at once is first; begin one "
            "at a time"
        )
    return Lease(store, say, every=every, exclusive=exclusive)


def _settled(store: Store, folder: Path, held: Lease, say: Say, *, fresh: bool) -> Kept:
    """Makes the folder what a driver is to go on from, and says where that came from."""
    there = store.read(layout.RECORD)
    if fresh and there is not None:
        aside = Store(f"{store.url}.{datetime.now():%Y-%m-%dT%H-%M-%S}")
        store.move(aside)
        say(f"the old copy is in {aside.url}")
        there = None
    kept = Kept.read(folder, store.url)
    if there is None:
        kept = Kept(store.url)
    elif held.before is None or kept.owner != held.before.owner or not (folder / layout.RECORD).exists():
        kept = _follow(store, folder, there, kept, say)
    _cut(store, there)
    kept.owner = held.owner
    folder.parent.mkdir(parents=True, exist_ok=True)
    kept.write(folder)
    return kept


def _follow(store: Store, folder: Path, there: bytes, kept: Kept, say: Say) -> Kept:
    """The copy was written by another machine since, or this one has no folder of it."""
    here = standing(folder, there)
    if here == "ahead":
        return Kept(store.url)
    if here == "apart":
        aside = folder.with_name(f"{folder.name}.{datetime.now():%Y-%m-%dT%H-%M-%S-%f}")
        folder.rename(aside)
        say(f"{store.url} went on elsewhere, and this machine's folder otherwise: that is in {aside} now")
        kept = Kept(store.url)
    done = fetching.fetch(store, folder, kept, away=fetching.nothing if _derives(store) else fetching.light)
    for line in done.odd:
        say(f"warning: {store.url}: left out: {line}")
    away = f"; {done.away} checkpoints stay there until they are needed" if done.away else ""
    say(f"{done.files} files ({done.size / 1e6:.1f} MB) came from {store.url}{away}")
    return kept


def standing(folder: Path, there: bytes) -> Literal["behind", "ahead", "apart"]:
    """How a folder's record stands to that of its copy: one of them goes on where the other ends, or neither does."""
    try:
        here = layout.whole_lines((folder / layout.RECORD).read_bytes())
    except FileNotFoundError:
        return "behind"
    there = layout.whole_lines(there)
    if there.startswith(here):
        return "behind"
    return "ahead" if here.startswith(there) else "apart"


def _derives(store: Store) -> bool:
    """Whether the sweep makes points from its trials, any of which may be a parent."""
    try:
        told = recorded((store.read("sweep.yaml") or b"").decode())
        return bool(told["space"].get("derive"))
    except (
        yaml.YAMLError,
        TypeError,
        KeyError,
        AttributeError,
        ValueError,
    ):  # whoever goes on says what is wrong with it
        return True


def _cut(store: Store, there: bytes | None) -> None:
    """Deletes files of trials that the copy's record does not know: those of another draw would lie among them."""
    entries, _ = store.files()
    known = layout.known(there or b"")
    for name in fetching.orphans(entries, known):
        store.delete(name)


def _unfinished(made: Mirror, held: Lease, trouble: str | None) -> str | None:
    """What the copy lacks, in words; None where it lacks nothing."""
    folder, url = made.folder, made.store.url
    if held.lost is not None:
        return f"{held.lost}: what was done since is in {folder} alone"
    lacking = made.missing()
    if not lacking:
        return None
    first = ", ".join(sorted(lacking)[:3]) + (" ..." if len(lacking) > 3 else "")
    count = "a file" if len(lacking) == 1 else f"{len(lacking)} files"
    why = f" ({trouble})" if trouble else ""
    return (
        f"{url}: lacks {count} ({first}; {sum(lacking.values()) / 1e6:.1f} MB){why}; all of it is in {folder}: run the same "
        "command again, or python -m sweeps mirror"
    )
