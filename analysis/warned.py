"""Warnings that a sweep said while it ran, as `events.log` has them."""

from __future__ import annotations

from pathlib import Path

from robustray.plain import plain

EVENTS = "events.log"
LARGEST = 8 * 2**20
"""Bytes that are read of it, from its beginning."""
MOST = 10
_MARK = "  warning: "


def lines(folder: Path) -> list[str]:
    """Each once, in the order of their first appearance; none where the file cannot be read."""
    try:
        with (folder / EVENTS).open("rb") as file:
            text = file.read(LARGEST).decode(errors="replace").splitlines()
    except OSError:
        return []
    told = dict.fromkeys(plain(line.partition(_MARK)[2]) for line in text if _MARK in line)
    return [f"Said while it ran: {line}." for line in list(told)[:MOST]]
