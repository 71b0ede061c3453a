"""How much of their time workers worked, as the driver of the last run has written it down."""

from __future__ import annotations

from pathlib import Path

from sweeps.record import status


def merit(folder: Path) -> list[tuple[str, str, str]]:
    """(value, name, remark) for the top of the page; nothing for folders without a status."""
    found = status.read(folder)
    if found is None or found.busy is None:
        return []
    slots = f"of {found.slots} at a time, " if found.slots > 1 else ""
    return [(f"{100 * found.busy:.0f} %", "workers busy", f"{slots}last run, first start to last end")]
