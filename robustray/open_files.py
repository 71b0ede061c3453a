"""How many files a process may have open: Ray needs some for every worker, and dies without a word where it gets none."""

from __future__ import annotations

import contextlib
import resource
from typing import Literal

_RAY, _WORKER = 96, 3
"""What Ray's processes had open at most when they began (2.56: 57, with peaks above 64), and what each worker adds."""


def limit() -> float:
    """Files that one process may have open, after raising its own limit to the highest that it may set."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS has a lower one that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return float("inf") if soft == resource.RLIM_INFINITY else soft


def wanted(cores: int) -> int:
    """Files that a process of Ray's may need on a machine with so many cores, a worker on each."""
    return _RAY + _WORKER * cores


def told(cores: int) -> tuple[Literal["ok", "wrong"], str]:
    """Whether a local Ray can run on so many cores, and what to do where it cannot."""
    there, needed = limit(), wanted(cores)
    if there >= needed:
        return "ok", f"{there:g} may be open, a local Ray needs about {needed}"
    return "wrong", (
        f"only {there:g} files may be open (ulimit -Hn), and a local Ray on {cores} cores needs about {needed}; raise the "
        "limit, or run with --backend local"
    )
