"""The sockets on which the processes of a sweep and of its Ray listen, opened as a stranger would."""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

PATHS = ("/", "/metrics", "/api/version", "/nodes", "/api/jobs/", "/api/v0/tasks", "/api/local_raylet_healthz", "/logs")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""How a client of gRPC begins; who speaks it answers with settings of its own."""


class Listening(NamedTuple):
    """One socket."""

    address: str
    port: int
    process: str

    @property
    def beyond(self) -> bool:
        """Whether other machines reach it."""
        address = ipaddress.ip_address(self.address)
        within = getattr(
            address, "ipv4_mapped", None
        )  # `::ffff:127.0.0.1` is 127.0.0.1, and Python 3.11 does not say so
        return not (within or address).is_loopback


def listening(pid: int) -> Iterator[Listening]:
    """All of a process and of those that it started, directly or not."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                title = " ".join(process.cmdline()[:4])
                for each in process.net_connections("inet"):
                    if each.status == psutil.CONN_LISTEN:
                        yield Listening(each.laddr.ip, each.laddr.port, title)


def given_away(port: int) -> dict[str, str]:
    """What a socket tells whoever asks without a token, by the path asked for: beginnings of answers, not of refusals."""
    found = {}
    for path in PATHS:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status < 300:
                found[path] = answer.read(200).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            break  # it speaks another language, or has gone
        finally:
            connection.close()
    return found


def speaks_grpc(port: int) -> bool:
    """Whether a server of gRPC answers there."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as there:
        there.settimeout(2)
        there.sendall(_PREFACE)
        return there.recv(9)[3:4] == b"\x04"
    return False
