"""Disks that fill up: a small file system of its own, and a limit to what a file may grow to."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system in memory of so many KiB, in whole pages; the test is skipped where nobody may mount one."""
    folder.mkdir()
    if not _mounted("-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)):
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(folder: Path, kib: int) -> None:
    """Makes room on it."""
    assert _mounted("-o", f"remount,size={kib}k", str(folder))


def _mounted(*words: str) -> bool:
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """No file grows beyond so many bytes: a write gets what fits, the next one EFBIG (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
