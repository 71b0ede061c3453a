"""Ray's head is looked after: where it is gone, Ray's library ends this process after a minute, without a word of ours.

Knows no Ray. A thread asks whether anybody listens where the head did. Where nobody has for long enough, the main thread is
told by an exception; a call of Ray's that waits for the head in its own code hears of none, and then the line is said here,
and the process ends as it would by `kill -9`, by which nothing is lost.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

GONE = 2
"""Exit code: it is for the user to mend, or to begin again."""
OWN, OTHERS = 5.0, 45.0
"""Seconds for which nobody has listened: of a head on this machine, which nobody starts again; of a cluster's, which somebody
may. Ray itself waits for 60."""
LOOK, GRACE = 0.5, 10.0
"""Seconds between two looks; for the main thread to leave by itself."""
_WAKE = signal.SIGUSR2


class Headless(BaseException):
    """The head is gone. No Exception: Ray's loop takes those for a trial's."""


class HeadWatch:
    """While the block runs, looks after a head. A context manager of the main thread.

    Args:
        address: `HOST:PORT` of the head. patience: seconds for which nobody has to listen there. words: what is said then.
        say: takes them where the main thread hears of nothing; what it prints with by itself may go to a file meanwhile.

    Raises:
        Headless: with those words, in the main thread.
    """

    def __init__(
        self, address: str, patience: float, words: str, say: Callable[[str], None] = lambda line: None
    ) -> None:
        host, _, port = address.rpartition(":")
        self._place = host.strip("[]"), int(port)
        self._patience = patience
        self._words = words
        self._say = say
        self._over = threading.Event()
        self._gone = False

    def __enter__(self) -> HeadWatch:
        self._before = signal.signal(_WAKE, self._wake)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        try:
            self._thread.join()  # it may be about to wake this one: by the handler of before, that would end the process
        finally:
            signal.signal(_WAKE, self._before)
        if self._gone and not isinstance(error, Headless):
            raise Headless(self._words) from error  # whatever else came of it

    def rest(self) -> None:
        """From here on the head may go, as it does where this process ends its own Ray; one that is gone already stays so."""
        if not self._gone:
            self._over.set()

    def _wake(self, number: int, frame: FrameType | None) -> None:
        if self._gone:  # anybody may send a signal
            raise Headless(self._words)

    def _look(self) -> None:
        silent = 0.0
        while not self._over.wait(LOOK):
            silent = 0.0 if self._listens() else silent + LOOK
            if silent >= self._patience and not self._over.is_set():
                self._gone = True
                signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)
                if not self._over.wait(GRACE):
                    self._say(f"error: {self._words}")
                    os._exit(GONE)
                return

    def _listens(self) -> bool:
        try:
            socket.create_connection(self._place, timeout=2).close()
        except TimeoutError:  # somebody is there, and busy: Ray has its own patience with it
            return True
        except OSError:
            return False
        return True
