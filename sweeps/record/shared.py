"""Whether others on this machine may change a results folder."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from robustray.errors import UserError

ALLOWED = "ROBUSTRAY_OPEN_FOLDERS"
"""A variable of the environment: `allow` lets a sweep work in a folder that every user may write to."""


def demand(folder: Path) -> None:
    """Sees that not every user of the machine may change a sweep: its results, and what it goes on from.

    A folder like /tmp, where everybody may make files and nobody may touch another's, is no danger to what lies below it.

    Raises:
        UserError: every user may write to the folder, or to one that it stands on, and `ALLOWED` does not allow it.
    """
    if (place := _open(folder)) is not None and os.environ.get(ALLOWED) != "allow":
        raise UserError(f"{place}: {_EVERYBODY}; chmod o-w {place}, or allow it by {ALLOWED}=allow")


def warning(folder: Path) -> str | None:
    """What to say of a folder that others may change and that is worked in all the same: all users, or a group of several."""
    if (place := _open(folder)) is not None:
        return f"{place}: {_EVERYBODY}; chmod o-w {place}"
    for place, about in _places(folder):
        if about.st_mode & stat.S_IWGRP and not about.st_mode & stat.S_ISVTX and (group := _others(about)) is not None:
            return f"{place}: the group {group} may write here, and so change results and what a resumed sweep goes on from"
    return None


_EVERYBODY = (
    "every user of this machine may write here and change results, checkpoints and what a resumed sweep goes on from"
)


def _open(folder: Path) -> Path | None:
    for place, about in _places(folder):
        if about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX:
            return place
    return None


def _places(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """The folders that a sweep stands on and that are there: whoever may rename one of them has it."""
    found = []
    for place in (folder, folder / "trials", folder / "judgements", folder.absolute().parent):
        try:
            found.append((place, place.stat()))
        except OSError:
            continue
    return found


def _others(about: os.stat_result) -> str | None:
    """The name of a folder's group, unless it is the user's own: many systems give each user one of his name."""
    try:
        group, user = grp.getgrgid(about.st_gid), pwd.getpwuid(about.st_uid)
    except KeyError:  # in no list, as in many containers
        return str(about.st_gid) if about.st_gid != about.st_uid else None
    alone = group.gr_name == user.pw_name and not set(group.gr_mem) - {user.pw_name}
    return None if alone else group.gr_name
