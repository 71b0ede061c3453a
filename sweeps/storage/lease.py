"""The right to write a copy: an object that says who has it, renewed while he is at work.

A lease is `.lease/NUMBER`. Who takes over makes the next number, which of several at once one alone can: so nobody deletes the
other's. A holder that finds a higher number than his own has lost it, and writes no more.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psutil

from robustray.errors import UserError
from robustray.files import from_json
from robustray.plain import command, plain
from sweeps.storage.layout import LEASES
from sweeps.storage.store import Store, Trouble

EVERY = 10.0
"""Seconds between two renewals."""
MISSED = 3
"""Renewals that do not come before a holder counts as dead."""
SETTLE = 2.0
"""Seconds after which a lease is read back where the store cannot decide between two: the later of them stands."""
_LAST = 1 << 40


@dataclass(frozen=True)
class Holder:
    """Who has a lease."""

    owner: str  # of this life of the driver alone
    host: str
    process: int
    begun: int  # of the process, seconds since 1970
    since: str  # UTC
    renewals: int
    every: float  # seconds between them
    released: bool
    command: str = ""

    @classmethod
    def myself(cls, every: float) -> Holder:
        """This process."""
        return cls(
            owner=uuid.uuid4().hex,
            host=os.uname().nodename,
            process=os.getpid(),
            begun=int(psutil.Process().create_time()),
            since=datetime.now(UTC).isoformat(timespec="seconds"),
            renewals=0,
            every=every,
            released=False,
            command=command()[:200],
        )

    @classmethod
    def read(cls, content: bytes | None) -> Holder | None:
        """As an object says; None where it says nothing that can be read: it may be about to be written."""
        try:
            told: Any = from_json(content or b"")
            found = cls(**{name: kind(told[name]) for name, kind in _FIELDS.items()})
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return None
        return found if 0 < found.every < 1e6 else None

    def content(self) -> bytes:
        """As it is written."""
        return json.dumps(asdict(self)).encode()

    @property
    def name(self) -> str:
        """In words."""
        return f"process {self.process} on {plain(self.host)}"

    @property
    def gone(self) -> bool:
        """Whether its process is known to be dead: it was on this machine, and is there no more."""
        if self.host != os.uname().nodename:
            return False
        try:
            return abs(psutil.Process(self.process).create_time() - self.begun) > 2
        except (psutil.NoSuchProcess, ValueError, OverflowError):
            return True

    @property
    def held(self) -> str:
        """For how long, in words; nothing where the time cannot be read."""
        with suppress(ValueError, TypeError, OverflowError):
            seconds = int((datetime.now(UTC) - datetime.fromisoformat(self.since)).total_seconds())
            if 0 <= seconds < 60:
                return f", for {seconds} s"
            return f", for {seconds // 3600} h {seconds // 60 % 60} min" if seconds >= 60 else ""
        return ""


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "owner": str,
    "host": str,
    "process": int,
    "begun": int,
    "since": str,
    "renewals": int,
    "every": float,
    "released": bool,
    "command": str,
}


def last(store: Store) -> Holder | None:
    """Who had the lease of a copy last, or has it now; None where nobody is known.

    Raises:
        Trouble: the store cannot be read.
    """
    newest = max(_numbers(store), default=0)
    return Holder.read(store.read(_name(newest))) if newest else None


class Lease:
    """A lease that this process holds. A thread renews it.

    Attributes:
        before: who had it last, released or dead; None for nobody. lost: why it is no longer held.
    """

    def __init__(
        self,
        store: Store,
        say: Callable[[str], None],
        *,
        every: float = EVERY,
        exclusive: bool = True,
        settle: float = SETTLE,
    ) -> None:
        """Takes it.

        Whether a holder lives is seen from its renewals, by this machine's clock alone: clocks of two machines differ.

        Args:
            store: of the copy. say: takes a line for the user. every: seconds between renewals.
            exclusive: whether the store decides who of two was first. settle: seconds to wait where it does not.

        Raises:
            UserError: another driver is at work on this copy. Trouble: the store cannot be reached.
        """
        self.before: Holder | None = None
        self.lost: str | None = None
        self._store, self._say, self._every = store, say, every
        self._me = Holder.myself(every)
        self._over = threading.Event()
        while True:
            newest, holder = self._newest()
            if newest and not self._free(newest, holder):
                continue  # it has changed hands while we looked
            self._number = newest + 1
            if not store.create(_name(self._number), self._me.content()):
                continue
            if not exclusive:
                time.sleep(settle)
                if (there := Holder.read(store.read(_name(self._number)))) is None or there.owner != self.owner:
                    continue
            self.before = holder
            break
        self._seen = time.monotonic()
        for number in _numbers(self._store):
            if number < self._number:
                store.delete(_name(number))
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def owner(self) -> str:
        """What names this life of the driver in the store."""
        return self._me.owner

    def sure(self) -> bool:
        """Whether it is still held: seen so little ago that nobody can have taken it over since, or asked for now.

        Raises:
            Trouble: it would have to be asked for, and the store cannot be reached.
        """
        fresh = time.monotonic() - self._seen < (MISSED - 1) * self._every
        return self.lost is None and (fresh or self.check())

    def check(self) -> bool:
        """Whether it is still held, as the store says now; whoever lost it says so once.

        Raises:
            Trouble: the store cannot be reached.
        """
        if self.lost is None:
            asked = time.monotonic()
            newest = max(_numbers(self._store), default=0)
            there = Holder.read(self._store.read(_name(newest)))
            if newest != self._number or (there is not None and there.owner != self.owner):
                who = "another driver" if there is None else there.name
                url = self._store.url
                self.lost = f"{who} has taken over {url}" if newest else f"what lay at {url} is gone, the lease with it"
                self._over.set()
            else:
                self._seen = asked
        return self.lost is None

    def release(self) -> None:
        """Gives it back: the next one need not wait. A store that cannot be reached will see it run out."""
        self._over.set()
        self._thread.join()
        with suppress(Trouble):
            if self.check():
                self._store.write(_name(self._number), replace(self._me, released=True).content())

    def _free(self, number: int, holder: Holder | None) -> bool:
        """Whether a lease may be taken over, after a wait until it is known; False where it has changed hands meanwhile.

        Raises:
            UserError: its holder is at work.
        """
        if holder is not None and (holder.released or holder.gone):
            return True
        every = self._every if holder is None else max(holder.every, self._every)
        if holder is not None:
            self._say(
                f"{self._store.url}: was held by {holder.name}; waiting up to {MISSED * every:g} s for a sign of life"
            )
        end = time.monotonic() + MISSED * every
        while time.monotonic() < end:
            time.sleep(every / 10)
            newest, now = self._newest()
            if newest != number or (now is not None and now.released):
                return False
            if now != holder and now is not None and holder is not None:
                raise UserError(
                    f"{self._store.url}: another driver ({holder.name}{holder.held}) is at work on this sweep; "
                    "stop it there, or give this sweep another name"
                )
            holder = holder or now
        who = "a driver that left no name" if holder is None else holder.name
        self._say(f"{self._store.url}: {who} has not renewed its lease for {MISSED * every:g} s: taken over")
        return True

    def _newest(self) -> tuple[int, Holder | None]:
        newest = max(_numbers(self._store), default=0)
        return newest, Holder.read(self._store.read(_name(newest))) if newest else None

    def _renew(self) -> None:
        while not self._over.wait(self._every):
            with suppress(Trouble):  # the next one may come through; if none does, it is another's
                if self.check():
                    self._me = replace(self._me, renewals=self._me.renewals + 1)
                    self._store.write(_name(self._number), self._me.content())


def _numbers(store: Store) -> list[int]:
    return [int(name) for name in store.names(LEASES) if name.isascii() and name.isdigit() and int(name) < _LAST]


def _name(number: int) -> str:
    return f"{LEASES}/{number:08d}"
