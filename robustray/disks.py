"""Storage that has failed: full, gone, or taking no more. What the system says of it, in words that help."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_ROOM = "free some and run the same command again"
_BACK = "see to it and run the same command again"
_GONE = "the disk is gone ({}); mount it anew and run the same command again"
_TROUBLE = {
    errno.ENOSPC: f"no space left on the disk; {_ROOM}",
    errno.EDQUOT: f"no space left in the quota of its disk; {_ROOM}",
    errno.EFBIG: "a file would grow larger than is allowed; raise that (ulimit -f) and run the same command again",
    errno.EIO: f"the disk cannot be read or written (Input/output error); {_BACK}",
    errno.EROFS: f"the disk takes no more (Read-only file system); {_BACK}",
    errno.ESTALE: _GONE.format("Stale file handle"),
}
_LOST = ("ENODEV", "ENXIO", "EREMOTEIO", "ENOMEDIUM", "EUCLEAN", "EBADMSG")
"""What file systems say of a disk that has come loose or is damaged, as far as this system knows it."""
_TROUBLE |= {
    number: _GONE.format(os.strerror(number)) for name in _LOST if (number := getattr(errno, name, None)) is not None
}
_REFUSED = (errno.EACCES, errno.EPERM)
_OURS = (*_REFUSED, errno.ENOENT, errno.ENOTDIR, errno.ENOTCONN, errno.ESHUTDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH,
         errno.ENETUNREACH, errno.ETIMEDOUT)  # fmt: skip
"""Nothing unusual elsewhere, of a socket or a file that is looked for; of one that we have made, a sign that its storage is not
what it was: FUSE, NFS and Lustre say these."""


def disk_trouble(error: BaseException, ours: Path | None = None) -> str | None:
    """What to do about storage that has failed; None where the error is of something else.

    Args:
        ours: a folder that we have made. A file in it that is not there, or cannot be opened, means that the storage went away,
            for however short a time.
    """
    if not isinstance(error, OSError):
        return None
    if (known := _TROUBLE.get(error.errno or 0)) is not None:
        return known
    if ours is None or error.errno not in _OURS or (file := _file_in(error, ours)) is None:
        return None
    if error.errno in _REFUSED:
        return f"{file} cannot be opened ({error.strerror}); {_BACK}"
    return f"{file} is not there ({error.strerror}): the disk went away, or somebody removed it; {_BACK}"


def trouble_behind(error: BaseException) -> OSError | None:
    """The error of failed storage that another was raised for: what could not be read is often said in other words."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        if isinstance(each, OSError) and disk_trouble(each) is not None:
            return each
        seen.add(id(each))
        each = each.__cause__ or each.__context__
    return None


def is_full(error: BaseException) -> bool:
    """Whether a disk, or a quota of it, has no room left: what may pass while somebody frees some."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def told(error: OSError) -> str:
    """A file that could not be read or written in a line: which, and what to do about it or what the system says."""
    where = "" if error.filename is None else f"{error.filename}: "
    return where + (disk_trouble(error) or error.strerror or str(error))


def _file_in(error: OSError, folder: Path) -> Path | None:
    """The file that an error is of, where it lies in a folder: by its name, since neither may be there."""
    top = Path(os.path.abspath(folder))  # noqa: PTH100  Path.absolute leaves `..` in it
    for path in _files(error):
        if path.is_relative_to(top):
            return path.relative_to(top.parent)
    return None


def _files(error: OSError) -> Iterator[Path]:
    for name in (error.filename, error.filename2):
        if isinstance(name, str | bytes | os.PathLike):
            yield Path(os.path.abspath(os.fsdecode(name)))  # noqa: PTH100
