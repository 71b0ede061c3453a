"""`python -m analysis.live.leashed FOLDER SOCKET`: the live page of a sweep, for as long as standard input stays open."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

from analysis.live.watch import watch

if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(10)  # the sweep comes first
    watch(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), leash=True)
