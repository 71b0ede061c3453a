"""What the live page shows, and when it has to be made anew."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis.live import changes
from robustray.errors import UserError
from sweeps import record
from sweeps.record import ledger

_LOOKS = 0.5  # seconds between two looks at the files
_REST = 3.0  # times the processor time that a page took to make nothing is made: at most a quarter of one core is spent
KEPT = 4  # states that a browser may still show; one that is further behind is sent all of the newest
_T = TypeVar("_T")
_WATCHED = (record.JOURNAL, ledger.FILE, "sweep.yaml")


@dataclass(frozen=True)
class _Made:
    """Files of one state, the name of that state, and its page cut up: None where it has nothing to draw."""

    files: dict[str, str]
    name: str
    state: changes.State | None


class Source:
    """The newest files of a page, and a version that grows whenever they change.

    They are made in a thread, one at a time. What goes wrong is said on the page: the next change tries again.
    """

    def __init__(self, folder: Path, make: Callable[[Path], dict[str, str]], blank: Callable[[Path, str], str]) -> None:
        """Looks at nothing yet.

        Args:
            folder: the sweep's; it may not be there yet.
            make: gives the files by name, `index.html` among them.
            blank: a page that says why there is none.
        """
        self.folder, self.version = folder, 0
        self._make, self._blank = make, blank
        self._newest = _named({"index.html": blank(folder, "The sweep has not begun: this page fills when it does.")})
        self._states: OrderedDict[str, changes.State | None] = OrderedDict({self._newest.name: self._newest.state})
        self._answers: dict[str, dict[str, Any]] = {}  # what is new in the newest state, by the state that is shown
        self._changed = asyncio.Condition()
        self._stamp: tuple[tuple[int, int] | None, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """The newest files by name."""
        return self._newest.files

    def since(self, shown: str) -> dict[str, Any]:
        """What a page has to change that shows a state by this name: `changes.changes`, and as `state` the newest one's name.

        From or to a page that has nothing to draw there is no way but to load the other one: `state` alone.
        """
        new, told = self._newest.state, {"state": self._newest.name}
        if new is None or self._states.get(shown, new) is None:
            return told
        known = shown if shown in self._states else ""  # all that are not known get the same
        if known not in self._answers:
            self._answers[known] = told | changes.changes(self._states.get(shown), new)
        return self._answers[known]

    async def follow(self) -> None:
        """Makes the page whenever the sweep's files have changed, until it is cancelled."""
        while True:
            stamp, took = self._seen(), 0.0
            if stamp != self._stamp and stamp[0] is not None:
                self._stamp = stamp
                made, took = await _away(self._timed)
                await self._renew(made)
            await asyncio.sleep(max(_LOOKS, _REST * took))

    async def newer(self, than: int) -> int:
        """Waits for another version than this one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.version != than)
            return self.version

    def _timed(self) -> tuple[_Made, float]:
        """The newest state, and the processor time of this thread for it: on a busy machine the clock would say more."""
        began = time.thread_time()
        return self._made(), time.thread_time() - began

    def _made(self) -> _Made:
        try:
            return _named(self._make(self.folder))
        except UserError as error:
            return _named({"index.html": self._blank(self.folder, str(error))})
        except Exception as error:  # whatever it is, a page that is looked at must not end for it
            told = f"This state could not be shown ({type(error).__name__}: {error}); the next change tries again."
            return _named({"index.html": self._blank(self.folder, told)})

    async def _renew(self, made: _Made) -> None:
        if made.name == self._newest.name:
            return
        async with self._changed:
            self._newest, self.version = made, self.version + 1
            self._answers.clear()
            self._states[made.name] = made.state
            self._states.move_to_end(made.name)
            while len(self._states) > KEPT:
                self._states.popitem(last=False)
            self._changed.notify_all()

    def _seen(self) -> tuple[tuple[int, int] | None, ...]:
        """Time of change and size of each file; None where it is not there."""
        return tuple(_stamp(self.folder / name) for name in _WATCHED)


def _named(files: dict[str, str]) -> _Made:
    """Gives a state its name, which says all of its files, and writes it into the page."""
    name = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    page = files["index.html"]
    named = page.replace(changes.NAMED, f'{changes.NAMED[:-1]}{name}"', 1)
    return _Made(files | {"index.html": named}, name, changes.cut(page))


async def _away(make: Callable[[], _T]) -> _T:
    """The result of a function that runs in a thread nobody waits for at the end, as they would for an executor's."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[_T] = loop.create_future()

    def hand_over(made: _T) -> None:
        if not found.done():
            found.set_result(made)

    def run() -> None:
        made = make()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(hand_over, made)

    threading.Thread(target=run, daemon=True).start()
    return await found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
