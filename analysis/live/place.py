"""Where a live page is served: at a port of this machine that no other machine reaches."""

from __future__ import annotations

import socket

from robustray.errors import UserError

HOST = "127.0.0.1"


def listening(port: int = 0) -> socket.socket:
    """A socket that listens; who connects before anybody answers, waits.

    Args:
        port: 0 for a free one.

    Raises:
        UserError: the port is taken, or not allowed.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise UserError(f"--port {port}: {error.strerror or error}; without --port a free one is chosen") from None
    found.listen(64)
    return found


def address(of: socket.socket) -> str:
    """What a browser is told."""
    return f"http://{HOST}:{of.getsockname()[1]}/"
