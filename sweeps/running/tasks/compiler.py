"""Where a worker's compiled networks go."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = "TORCHINDUCTOR_CACHE_DIR"
USERS_CACHE = os.environ.get(CACHE)
"""Where compiled networks go if the user says so; torch itself puts a folder of its own there once it is imported."""


def settle(folder: Path, threads: int) -> None:
    """One trial compiles for all, on every node that sees the results, and so does what is measured before them.

    Args:
        folder: a trial's. threads: processes that may compile beside this one; of itself torch takes one for each core.
    """
    if USERS_CACHE is None:
        os.environ[CACHE] = str(folder.resolve().parents[2] / ".compiled")
    if "TORCHINDUCTOR_COMPILE_THREADS" not in os.environ:
        import torch._inductor.config

        torch._inductor.config.compile_threads = threads
