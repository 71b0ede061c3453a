"""Damages a file again and again, and sees to it that its reader answers."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.damage import damaged
from tests.fuzz.readers import READERS, Reader

PATIENCE = 20
"""Seconds for one input, of a machine that has other things to do."""
MEMORY = 4 * 2**30
"""Bytes that reading may ask for, beyond what there is."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Hung(BaseException):
    """A reader has not answered in time."""


@dataclass
class Found:
    """What came of one reader's inputs."""

    answers: Counter[str] = field(default_factory=Counter)  # `valid`, or the type of the error
    faults: list[str] = field(default_factory=list)  # seed and traceback of what must not be


class _Fence:
    """Notes every file that is opened to be written, moved or removed outside a folder while it is up."""

    def __init__(self) -> None:
        self.allowed: str | None = None
        self.beyond: list[str] = []
        sys.addaudithook(self._hook)  # there is no way to take it away again

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open" and isinstance(args[0], str | bytes) and isinstance(args[2], int) and args[2] & _WRITES:
            self._look(args[0])
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate"):
            for path in args[:2]:
                if isinstance(path, str | bytes):
                    self._look(path)
        elif event in ("os.system", "subprocess.Popen", "os.exec", "pty.spawn"):
            self.beyond.append(f"{event} {args[0]!r}")

    def _look(self, path: str | bytes) -> None:
        real = os.path.realpath(os.fsdecode(path))
        cache = f"{os.sep}__pycache__{os.sep}"
        inside = f"{real}{os.sep}".startswith(f"{self.allowed}{os.sep}")
        if not inside and cache not in real and not real.startswith("/dev/"):
            self.beyond.append(real)


_fence: _Fence | None = None


def fuzz(name: str, count: int, seed: int) -> Found:
    """Gives a reader so many damaged files, always the same for a seed."""
    global _fence
    _fence = _fence or _Fence()
    reader, found = READERS[name], Found()
    with tempfile.TemporaryDirectory() as temporary, _limits(), _own_state(Path(temporary) / "state"):
        whole = Path(temporary).resolve() / "whole"
        whole.mkdir()
        reader.make(whole)
        shutil.copytree(whole, undamaged := whole.with_name("undamaged"))
        reader.read(undamaged)  # as it is, it can be read
        content = (whole / reader.file).read_bytes()
        for number in range(count):
            folder = whole.with_name("damaged")
            shutil.copytree(whole, folder)
            chance = random.Random(f"{name} {seed} {number}")
            (folder / reader.file).write_bytes(damaged(content, chance))
            _one(reader, folder, found, f"{name}, seed {seed}, input {number}", _fence)
            shutil.rmtree(folder)
    return found


def _one(reader: Reader, folder: Path, found: Found, where: str, fence: _Fence) -> None:
    fence.beyond, fence.allowed = [], str(folder.parent)  # a lock lies beside the folder
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        reader.read(folder)
        found.answers["valid"] += 1
    except reader.errors as error:
        found.answers[type(error).__name__] += 1
        if isinstance(error, Exception) and type(error).__name__ == "UserError" and "\n" in str(error).strip():
            found.faults.append(f"{where}: more than one line: {error}")
    except (Exception, Hung):
        found.faults.append(f"{where}\n{traceback.format_exc(limit=-6)}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        fence.allowed = None
    if fence.beyond:
        found.faults.append(f"{where}: touched {fence.beyond[:3]}")


@contextlib.contextmanager
def _own_state(folder: Path) -> Iterator[None]:
    """What is looked for in the user's home lies here, within the fence."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_STATE_HOME"]
        else:
            os.environ["XDG_STATE_HOME"] = before


def _hung(number: int, frame: FrameType | None) -> None:
    raise Hung


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, _hung)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)
