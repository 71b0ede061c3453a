"""A real S3 server on loopback, and a proxy before it that is slow, absent or refusing when it is told to."""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

Mode = Literal["pass", "slow", "absent", "refuse"]
BUCKET = "bucket"
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def settings(endpoint: str) -> dict[str, str]:
    """The environment in which S3 is this server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "of-a-test",
        "AWS_SECRET_ACCESS_KEY": "of-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@contextmanager
def server() -> Iterator[str]:
    """Its address. The bucket is there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    try:
        host, port = started.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        _make_bucket(endpoint)
        yield endpoint
    finally:
        started.stop()


class Process:
    """A server of its own process, which can be killed and come again at the same address, with nothing in it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as door:
            self._port = door.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers and the bucket is there."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while True:
            try:
                return _make_bucket(self.endpoint)
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL: whatever it was sending or taking is cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _make_bucket(endpoint: str) -> None:
    made = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")  # as no credentials are asked for
    urllib.request.urlopen(made, timeout=30).close()


class Proxy:
    """Passes bytes on to a server, or does not."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._there = (host, int(port))
        self._door = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self.mode: Mode = "pass"
        self._over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Ends it."""
        self._over.set()
        self._door.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                caller, _ = self._door.accept()
                threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller: socket.socket) -> None:
        mode = self.mode
        with caller, suppress(OSError):
            if mode == "absent":
                return
            if mode == "refuse":
                caller.recv(1 << 16)
                caller.sendall(_REFUSAL)
                return
            with socket.create_connection(self._there) as server:
                while self.mode == mode and not self._over.is_set():  # whoever is connected feels a change too
                    ready, _, _ = select.select([caller, server], [], [], 0.05)
                    for one in ready:
                        data = one.recv(1 << 14)
                        if not data:
                            return
                        if mode == "slow":
                            time.sleep(0.1)
                        (server if one is caller else caller).sendall(data)


def use(endpoint: str) -> None:
    """S3 is this server from now on, in this process."""
    os.environ.update(settings(endpoint))
