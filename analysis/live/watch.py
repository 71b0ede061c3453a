"""The live page as a command, and beside a sweep that runs in this terminal."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from analysis.live.place import address, listening
from robustray.errors import UserError


def needs() -> None:
    """Sees whether the server's library is there.

    Raises:
        UserError: it is not; the message says how it gets there.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise UserError("--watch needs aiohttp: pip install 'robustray[live]'; or leave --watch out")


def watch(folder: Path, at: socket.socket, *, leash: bool = False) -> None:
    """Serves the page of a sweep until Ctrl-C or SIGTERM.

    Args:
        folder: the sweep's; it may not be there yet.
        at: listens already.
        leash: also ends when standard input does, as it does with the process that holds its other end.
    """
    from analysis import page, report
    from analysis.live.server import serve
    from analysis.live.source import Source

    async def run() -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        if leash:
            threading.Thread(target=_until_end_of_input, args=(loop, ended), daemon=True).start()
        await serve(Source(folder, report.live, page.blank), at, ended)

    asyncio.run(run())


@contextlib.contextmanager
def beside(folder: Path) -> Iterator[str]:
    """Serves the page of a sweep from a process of its own, of low priority, while the block runs; gives its address.

    Whatever happens to that process, the block does not notice. It ends with this one, also where this one is killed.

    Args:
        folder: the sweep's; it need not be there yet.

    Raises:
        UserError: the server's library is missing.
    """
    needs()
    with listening() as at:
        told, number = address(at), at.fileno()
        command = [sys.executable, "-m", "analysis.live.leashed", str(folder.absolute()), str(number)]
        process = subprocess.Popen(  # noqa: S603 - this program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[number],
        )
    try:
        yield told
    finally:
        process.kill()  # it writes nothing
        process.communicate()


def _until_end_of_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(ended.set)
