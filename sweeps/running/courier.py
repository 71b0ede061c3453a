"""Hands files of a sweep to nodes that do not see its folder, and writes what they hand back. Knows no Ray.

It runs where the driver does. What a job hands back is in the results folder before its worker reports, so the record never
names a file that is not there. Of two that hold one job, as when a node was taken for lost and goes on, the later one counts.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from robustray.disks import disk_trouble, is_full
from robustray.errors import UserError
from robustray.files import write_whole
from sweeps.running import parcels
from sweeps.running.stop_file import NAME, asked, released
from sweeps.running.watch import ALIVE, NOTE
from sweeps.storage import fetching
from sweeps.storage.pack import Pack, Unfit, packed, unpack
from sweeps.storage.sets import Moved, Stamp, look

PAUSE = 0.05
"""Seconds before a set of files is looked at again that kept changing."""
TRIES = 20


Done = TypeVar("Done")


class Trouble(NamedTuple):
    """Why files could not be had or written, in words, and whether it is a disk without room."""

    cause: str
    full: bool = False


class Handed(NamedTuple):
    """What a job gets: files that its worker has not, stamps here of all that it has then, and paths that its node has to have
    itself."""

    pack: Pack
    stamps: dict[str, Stamp]
    sets: tuple[str, ...]
    besides: tuple[str, ...]


class Courier:
    """The side that sees the results. Its calls may come from several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Args: folder: the sweep's."""
        self.folder = folder.absolute()
        self._holders: dict[str, str] = {}  # tokens of who holds a job, by its name
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._life: int | None = None  # the open file that is there while this driver lives: no other gets its inode

    def fetch(self, name: str, token: str, work: Mapping[str, Any], has: Mapping[str, Stamp]) -> Handed | Trouble:
        """What a job reads. From now on it is `token`'s.

        Args:
            name: the job's. work: as the driver gives it. has: stamps, as they were here, of files that the worker has.
        """
        return self._trying(lambda: self._fetch(name, token, work, has))

    def store(self, name: str, token: str, work: Mapping[str, Any], pack: Pack) -> dict[str, Stamp] | Trouble:
        """Writes what a job hands back; the stamps here of what its worker has now."""

        def store() -> dict[str, Stamp] | Trouble:
            sets = parcels.writes(work, self.folder)
            with self._alone(sets):  # asked within: whoever waited may have lost the job meanwhile
                if (stale := self._stale(name, token)) is not None:
                    return stale
                return unpack(pack, self.folder, sets)

        return self._trying(store)

    def word(self, name: str, token: str, node: str, work: Mapping[str, Any], alive: str | None) -> tuple[bool, bool]:
        """Whether all workers are asked to stop, and whether those of a node are.

        Args:
            alive: what the worker says of itself, for who looks whether it is frozen; None: it says nothing.
        """
        if alive is not None and self._stale(name, token) is None:
            with contextlib.suppress(OSError):
                path = Path(work["folder"]) / ALIVE
                if not path.exists() or path.read_text(encoding="ascii", errors="replace") != alive:
                    path.write_text(alive, encoding="ascii")
        running = self.folder / NAME
        return asked(running), released(running, node)

    def rest(self, name: str, token: str, work: Mapping[str, Any]) -> None:
        """A job has ended: nobody looks whether its worker is frozen."""
        if self._stale(name, token) is None:
            with contextlib.suppress(OSError):
                (Path(work["folder"]) / ALIVE).unlink(missing_ok=True)
            self._holders[name] = ""  # what it still says of itself comes too late

    def hung(self, name: str, token: str, work: Mapping[str, Any], told: str) -> None:
        """A job hangs, and its worker ends for it."""
        if self._stale(name, token) is None:
            with contextlib.suppress(OSError):
                write_whole(Path(work["folder"]) / NOTE, told)

    def _fetch(self, name: str, token: str, work: Mapping[str, Any], has: Mapping[str, Stamp]) -> Handed | Trouble:
        with self._alone(parcels.writes(work, self.folder)):  # after this nothing of the one before is written
            self._holders[name] = token
        if (stale := self._stale(name, token)) is not None:
            return stale
        with contextlib.suppress(OSError):
            (Path(work["folder"]) / ALIVE).unlink(missing_ok=True)  # of a worker before it
        parcel = parcels.reads(work, self.folder)
        for within in parcel.sets:
            if within.startswith("trials/"):
                fetching.bring(self.folder / within)
        parcel = parcels.reads(work, self.folder)
        known = {name: each for name, each in has.items() if name in parcel.names}
        pack, found = packed(self.folder, parcel.sets, known, wanted=parcel.names)
        there = {name for within in parcel.sets for name in look(self.folder, within)[0]}
        gone = tuple(name for name in has if name.startswith(parcel.sets) and name not in there)
        return Handed(pack._replace(gone=gone), {**known, **found}, parcel.sets, parcel.besides)

    @contextlib.contextmanager
    def _alone(self, sets: Iterable[str]) -> Iterator[None]:
        """Nobody else writes to these sets of files meanwhile."""
        with contextlib.ExitStack() as held:
            for within in sorted(sets):
                held.enter_context(self._locks[within])
            yield

    def _stale(self, name: str, token: str) -> Trouble | None:
        """Whether a job is another's by now, or this life of the driver is over. One whose holder is not known is the caller's:
        this process may be a new one."""
        if self._holders.setdefault(name, token) != token:
            return Trouble(f"{name} is done by another worker by now")
        try:
            if self._life is None:
                self._life = os.open(self.folder / NAME, os.O_RDONLY)
            now = (self.folder / NAME).stat()
        except OSError:
            return None if self._life is None else Trouble("the driver has ended")
        return None if os.path.samestat(now, os.fstat(self._life)) else Trouble("another driver is at work")

    def _trying(self, act: Callable[[], Done | Trouble]) -> Done | Trouble:
        for tries in range(TRIES, 0, -1):
            try:
                return act()
            except Moved as error:
                if tries == 1:
                    return Trouble(f"{self.folder / str(error)}: kept changing while it was read")
                time.sleep(PAUSE)
            except OSError as error:
                return Trouble(self._words(error), is_full(error))
            except (Unfit, UserError) as error:
                return Trouble(str(error))
        raise AssertionError

    def _words(self, error: OSError) -> str:
        where = os.fspath(self.folder)
        return f"{where}: {disk_trouble(error, self.folder) or error.strerror or error}"
