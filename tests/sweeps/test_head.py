"""Ray's head is looked after: by whether somebody listens where it did, in words, and never without an end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from sweeps.running import head
from sweeps.running.head import Headless, HeadWatch

STUCK = """
import socket, sys
from pathlib import Path
from sweeps.running import head
head.GRACE = 0.5
with socket.create_server(("127.0.0.1", 0)) as there:
    address = f"127.0.0.1:{there.getsockname()[1]}"
import threading, time, faulthandler
faulthandler.dump_traceback_later(120, exit=True)
with head.HeadWatch(address, 1.0, "it is gone", lambda line: print(line, file=sys.stderr, flush=True)):
    while True:
        try:
            time.sleep(1000)
        except BaseException:  # as a library's own code, which hears of no exception
            pass
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and leaves a busy machine time."""
    monkeypatch.setattr(head, "LOOK", 0.05)
    monkeypatch.setattr(head, "GRACE", 240.0)


def test_a_head_that_is_gone_ends_what_waits_in_words() -> None:
    there = socket.create_server(("127.0.0.1", 0))
    before = signal.getsignal(signal.SIGUSR2)
    watch = HeadWatch(f"127.0.0.1:{there.getsockname()[1]}", 0.5, "it is gone")
    there.close()
    with pytest.raises(Headless, match="it is gone"), watch:
        time.sleep(240)
    assert signal.getsignal(signal.SIGUSR2) is before


def test_one_that_comes_back_in_time_is_not_missed_and_a_stray_signal_is_nothing() -> None:
    there = socket.create_server(("127.0.0.1", 0))
    place = there.getsockname()
    with HeadWatch(f"127.0.0.1:{place[1]}", 3600.0, "it is gone") as watch:
        there.close()
        assert not watch._listens()
        with socket.create_server(place):
            assert watch._listens()
            signal.raise_signal(signal.SIGUSR2)


def test_where_the_main_thread_hears_of_nothing_the_process_ends_with_the_line() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (2, "error: it is gone\n")


def test_what_else_came_of_it_is_not_what_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
    watch = HeadWatch(f"127.0.0.1:{port}", 0.2, "it is gone")

    def failing() -> None:
        while not watch._gone:
            with contextlib.suppress(Headless):
                time.sleep(1)
        raise ConnectionError("rpc failed")

    with pytest.raises(Headless, match="it is gone"), watch:
        failing()


def test_a_head_that_this_process_ends_itself_is_not_missed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = there.getsockname()[1]
    with HeadWatch(f"127.0.0.1:{port}", 0.2, "it is gone") as watch:
        watch.rest()
        watch._thread.join()
        assert not watch._gone


def test_nobody_is_woken_once_the_block_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the handler of before the signal would end this process: the thread has ended by then, whatever it was about to do."""
    asked = threading.Event()

    def slow(self: HeadWatch) -> bool:
        asked.set()
        time.sleep(0.3)
        return False

    monkeypatch.setattr(HeadWatch, "_listens", slow)
    with HeadWatch("127.0.0.1:1", 0.0, "it is gone") as watch:
        asked.wait()
    assert not watch._thread.is_alive()
    assert not watch._gone
