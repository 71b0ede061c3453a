"""Keeps a copy of a sweep's folder up while the sweep runs. The folder is the truth; the copy is at any moment one that a
driver may have been killed at.

That follows from an order. The record is read first, then every file that its lines may name is copied, then the record as it
was read: no line of the copy names a file that is not there. A trial's folder is copied as of one moment, what names other
files last, and what it lost is deleted after that. A file of a trial waits until the record that is read names the trial.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeps.storage import layout
from sweeps.storage.kept import Kept
from sweeps.storage.sets import Moved, Stamp, changes, look, stamp
from sweeps.storage.store import Store, Trouble

EVERY = 5.0
"""Seconds between two passes, where passes are short: one that takes long is followed by a pause of the same length."""
HANDS = 8
"""Sets of files on the way at a time: a store is far away, and most files are small."""
LONGEST = 60.0
"""Seconds between two tries of a store that is in trouble."""
_WRITTEN_DOWN = 60.0
"""Seconds after which what is known of the copy is written beside the folder."""


class Taken(Trouble):
    """This driver may not write any more, and never will."""


class Mirror:
    """Copies what has changed, pass by pass.

    There is no queue: a pass compares what lies in the folder with what the copy has. A store that is slow gets fewer of a
    trial's checkpoints, and memory holds a few numbers per file.

    Attributes:
        told: about files that no store can name, a line each.
    """

    def __init__(
        self, folder: Path, store: Store, kept: Kept, allowed: Callable[[], bool] = lambda: True, *, hands: int = HANDS
    ) -> None:
        """Copies nothing yet.

        Args:
            kept: what the copy has already. allowed: whether this driver may still write, asked again and again.
            hands: sets of files on the way at a time.
        """
        self._hands = hands
        self.folder, self.store, self.kept = folder, store, kept
        self.told: list[str] = []
        self._allowed = allowed
        self._record: tuple[Stamp, int] | None = None  # as it was copied, and how much of it
        self._noted = time.monotonic()

    def once(self, *, last: bool = False) -> None:
        """One pass: afterwards the copy has all that lay in the folder when it began.

        Args:
            last: copy what libraries printed as well, which may be much, and grows all the time.

        Raises:
            Trouble: the store did not take something. Moved: a trial's folder kept changing. OSError: a file cannot be read.
            All of them leave a copy that is whole, of an earlier moment.
        """
        record = self._read()
        trials = layout.known(record).trials
        there, odd = look(self.folder)
        self.told = odd
        news = {layout.set_of(name) for name, found in there.items() if self.kept.stamps.get(name) != found}
        news |= {layout.set_of(name) for name in self.kept.stamps if name not in there}
        named = [within for within in sorted(news - {""}) if layout.known_to(within, trials)]
        with ThreadPoolExecutor(self._hands) as pool:
            for _ in pool.map(self._copy, named):
                pass
        self._copy_own(
            {name: found for name, found in there.items() if "/" not in name and (last or name != layout.PRINTED)}
        )
        if record:
            self._write(layout.RECORD, record)
        if time.monotonic() - self._noted > _WRITTEN_DOWN:
            self.note()

    def missing(self) -> dict[str, int]:
        """What the folder has and the copy has not, or not as it is now: names with their sizes in bytes."""
        there, _ = look(self.folder)
        return {name: found.size for name, found in there.items() if self.kept.stamps.get(name) != found}

    def note(self) -> None:
        """Writes down beside the folder what is known of the copy."""
        self.kept.write(self.folder)
        self._noted = time.monotonic()

    def _read(self) -> bytes:
        try:
            data = (self.folder / layout.RECORD).read_bytes()
        except FileNotFoundError:
            return b""
        return layout.whole_lines(data)

    def _copy(self, within: str) -> None:
        with changes(self.folder, within, self.kept.stamps) as found:
            for name, file, held in found.files:
                self._ask()
                self.store.put(name, f"/dev/fd/{file}")
                self._has(name, held)
            for name in found.gone:
                self._ask()
                self.store.delete(name)
                self.kept.stamps.pop(name, None)

    def _copy_own(self, there: dict[str, Stamp]) -> None:
        """The sweep's own files, which stand alone; the tables as far as their lines are whole."""
        for name, found in there.items():
            if name == layout.RECORD or self.kept.stamps.get(name) == found:
                continue
            try:
                data = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            self._write(name, layout.whole_lines(data) if name in layout.TABLES else data, found)

    def _write(self, name: str, data: bytes, found: Stamp | None = None) -> None:
        if found is None:  # the record: a line that came after it was read is the next pass's
            now = stamp((self.folder / name).stat())
            found = now._replace(size=len(data))
            if self.kept.stamps.get(name) == found:
                return
        self._ask()
        self.store.write(name, data)
        self._has(name, found)

    def _has(self, name: str, found: Stamp) -> None:
        self.kept.stamps[name] = found
        self.kept.tags.pop(name, None)

    def _ask(self) -> None:
        if not self._allowed():
            raise Taken(f"{self.store.url}: this driver has lost its lease")


class Keeping:
    """A thread that makes passes. Trouble with the store is said once, and its end; nothing of it reaches the sweep.

    Attributes:
        trouble: what the last pass met; None where it came through. lost: whether no other pass will come through either.
    """

    def __init__(self, mirror: Mirror, say: Callable[[str], None], *, every: float = EVERY) -> None:
        """Starts it. Args: say: takes a line for the user. every: seconds between two passes."""
        self._mirror, self._say, self._every = mirror, say, every
        self._over = threading.Event()
        self.trouble: str | None = None
        self.lost = False
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it after the pass in flight."""
        self._over.set()
        self._thread.join()

    def finish(self, patience: float) -> bool:
        """Makes the copy whole after the thread has ended, with tries for as many seconds; whether it is."""
        end, delay = time.monotonic() + patience, 0.5
        while True:
            if self.attempt(last=True) and not self._mirror.missing():
                return True
            if self.lost or time.monotonic() + delay > end:
                return False
            time.sleep(delay)
            delay = min(2 * delay, LONGEST)

    def attempt(self, *, last: bool = False) -> bool:
        """One pass; whether it came through."""
        try:
            self._mirror.once(last=last)
        except Moved:
            return False
        except (Trouble, OSError) as error:
            if self.trouble is None:
                self._say(f"the copy waits: {error}; training goes on")
            self.trouble, self.lost = str(error), isinstance(error, Taken)
            return False
        if self.trouble is not None:
            self._say(f"{self._mirror.store.url}: can be written again; the copy is up to date")
            self.trouble = None
        return True

    def _work(self) -> None:
        pause = self._every
        while not self._over.wait(pause):
            begun = time.monotonic()
            self.attempt()
            took = time.monotonic() - begun
            pause = max(self._every, took) if self.trouble is None else min(2 * pause, max(LONGEST, self._every))
