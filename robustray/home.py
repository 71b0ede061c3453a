"""A home for those who have none, or none that can be written: users of containers, of cron, of locked-down machines."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import tempfile
from pathlib import Path

RAY_FOLDER = Path(".ray")
_LENT = "robustray-"
_TOKEN = RAY_FOLDER / "auth_token"


def settle() -> None:
    """Sees to it that HOME names a folder, for this process and those it starts; one that is there stays as it is.

    Without an entry in passwd and without HOME, `~` stands for nothing, and Ray, kaleido and others end in a traceback. A
    home that is not there and cannot be made, as that of the user `nobody`, is none either. What replaces it lies among the
    temporary files and is its owner's alone.
    """
    if found() is None:
        with contextlib.suppress(OSError):  # no temporary files either: whoever needs a home will say so
            os.environ["HOME"] = str(_own_folder())


def found() -> Path | None:
    """The user's home; None where there is none, and none can be made."""
    try:
        home = Path.home()
        home.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):
        return None
    return home


def lent() -> bool:
    """Whether the home is one that `settle` found."""
    home = found()
    return home is not None and home.parent == Path(tempfile.gettempdir()) and home.name.startswith(_LENT)


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or in the nearest one above it that is there."""
    there = next((place for place in (folder, *folder.parents) if place.exists()), None)
    return there is not None and there.is_dir() and not _read_only(there) and os.access(there, os.W_OK | os.X_OK)


def _read_only(folder: Path) -> bool:
    """Asked of the file system too: to root, everything else is writable."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def ray_token() -> dict[str, str]:
    """What a local Ray's environment needs where its token cannot be kept in ~/.ray/auth_token: a token of its own.

    Empty where it can, where one is there, and where the user names one or a cluster, which has its own.
    """
    named = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS"))
    home = found()
    if named or (home is not None and ((home / _TOKEN).is_file() or writable(home / RAY_FOLDER))):
        return {}
    return {"RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _own_folder() -> Path:
    """A folder among the temporary ones, the same each time, unless somebody else has taken its name."""
    folder = Path(tempfile.gettempdir()) / f"{_LENT}{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    about = folder.lstat()
    if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix=_LENT))
