"""How the log of a trial that failed ended: kept in the record, so that it is seen where the log is not."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from robustray.plain import discreet, plain

LINES, LONGEST = 20, 300
"""Lines that a record keeps of a failure, and characters of each."""
_TAIL = 16 * 1024


def of_log(path: Path) -> tuple[str, ...]:
    """The last lines of a log; nothing where it cannot be read. Values that are secret by their names are left out."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            text = discreet(file.read(_TAIL).decode(errors="replace"))
    except OSError:
        return ()
    return kept(text.splitlines())


def kept(lines: Iterable[object]) -> tuple[str, ...]:
    """The last of some lines, plain and no longer than a record keeps them."""
    shown = [plain(str(line))[:LONGEST].rstrip() for line in lines]
    return tuple([line for line in shown if line][-LINES:])
