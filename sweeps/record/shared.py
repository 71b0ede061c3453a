"""Whether others on this machine may change a results folder."""

from __future__ import annotations

import stat
from pathlib import Path


def warning(folder: Path) -> str | None:
    """What to say of a folder, or of the nearest one that is there, to which every user of the machine may write.

    Groups are left alone: sharing results with one's own is what they are for. A folder like /tmp, where everybody may make
    files and nobody may touch another's, is no danger to what lies below it.
    """
    for place in (folder, folder / "trials", folder / "judgements", folder.parent):
        try:
            mode = place.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX):
            return (
                f"{place}: every user of this machine may write here, and so change results, checkpoints and what a resumed "
                f"sweep goes on from; chmod o-w {place}"
            )
    return None
