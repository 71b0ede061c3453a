"""Files that are either whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AGAIN = "free some and run the same command again"
_TROUBLE = {
    errno.ENOSPC: f"no space left on the disk; {_AGAIN}",
    errno.EDQUOT: f"no space left in the quota of its disk; {_AGAIN}",
    errno.EFBIG: "a file would grow larger than is allowed; raise that (ulimit -f) and run the same command again",
    errno.EIO: "the disk cannot be read or written (Input/output error); see to it and run the same command again",
    errno.ESTALE: "the disk is gone (Stale file handle); mount it anew and run the same command again",
}


def disk_trouble(error: BaseException) -> str | None:
    """What to do about a disk that has failed; None where the error is of something else."""
    return _TROUBLE.get(error.errno or 0) if isinstance(error, OSError) else None


def write_whole(path: Path, content: bytes | str) -> None:
    """Writes a file aside, syncs it to disk and renames it into place: a reader sees the old file or the new one.

    The name aside holds the process id, so that two writers of the same content never meet in one half-written file. Text is
    UTF-8; the bytes of a name that is in no encoding are escapes in it.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:  # Ctrl-C too
        with suppress(OSError):  # the cause is the other one
            aside.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder aside to fill, which then gets its name: a reader sees all of it or none.

    Where somebody else was faster with the same content, theirs stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield aside
        aside.chmod(0o755)
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
