"""What the live page shows, and when it has to be made anew."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from robustray.errors import UserError
from sweeps import record
from sweeps.record import ledger

_LOOKS = 0.5  # seconds between two looks at the files
_REST = 3.0  # times as long as a page took to make nothing is made: at most a quarter of one core is spent
_WATCHED = (record.JOURNAL, ledger.FILE, "sweep.yaml")


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
        self.files = {"index.html": blank(folder, "The sweep has not begun: this page fills when it does.")}
        self._make, self._blank = make, blank
        self._changed = asyncio.Condition()
        self._stamp: tuple[tuple[int, int] | None, ...] = ()
        self._digest = ""

    async def follow(self) -> None:
        """Makes the page whenever the sweep's files have changed, until it is cancelled."""
        while True:
            stamp, took = self._seen(), 0.0
            if stamp != self._stamp and stamp[0] is not None:
                self._stamp, began = stamp, time.monotonic()
                await self._renew(await _away(self._made))
                took = time.monotonic() - began
            await asyncio.sleep(max(_LOOKS, _REST * took))

    async def newer(self, than: int) -> int:
        """Waits for another version than this one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.version != than)
            return self.version

    def _made(self) -> dict[str, str]:
        try:
            return self._make(self.folder)
        except UserError as error:
            return {"index.html": self._blank(self.folder, str(error))}
        except Exception as error:  # whatever it is, a page that is looked at must not end for it
            told = f"This state could not be shown ({type(error).__name__}: {error}); the next change tries again."
            return {"index.html": self._blank(self.folder, told)}

    async def _renew(self, files: dict[str, str]) -> None:
        digest = hashlib.sha256(repr(sorted((name, files[name]) for name in files)).encode()).hexdigest()
        if digest == self._digest:
            return
        async with self._changed:
            self.files, self._digest, self.version = files, digest, self.version + 1
            self._changed.notify_all()

    def _seen(self) -> tuple[tuple[int, int] | None, ...]:
        """Time of change and size of each file; None where it is not there."""
        return tuple(_stamp(self.folder / name) for name in _WATCHED)


async def _away(make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The result of a function that runs in a thread nobody waits for at the end, as they would for an executor's."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[dict[str, str]] = loop.create_future()

    def hand_over(files: dict[str, str]) -> None:
        if not found.done():
            found.set_result(files)

    def run() -> None:
        files = make()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(hand_over, files)

    threading.Thread(target=run, daemon=True).start()
    return await found


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
