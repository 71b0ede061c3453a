"""Waits for a condition, and not for a time."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

LONG = 400.0
"""Seconds after which what is waited for will not come any more: a busy machine takes minutes to start a Ray."""


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Waits until something is so, while a process runs, where one is given; its output is the error where it ends before."""
    deadline = time.monotonic() + LONG
    while not condition():
        assert process is None or process.poll() is None, process and process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)
