"""Whose code this user runs: what he has named himself, by its content."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from robustray import home
from robustray.errors import UserError
from robustray.files import write_whole
from robustray.plugins.sources import is_file

FLAG = "--trust-plugins"
ALL = "*"
"""In place of a hash: everything."""
_trusted: set[str] = set()
_everything = False


def trust_everything() -> None:
    """From now on, this process and those that work for it run whatever plugins a folder names."""
    global _everything
    _everything = True


def trusts(fingerprint: str) -> bool:
    """Whether this user runs a plugin of this content: he named it before, or trusts everything."""
    return _everything or fingerprint in _trusted or (_store() / fingerprint).is_file()


def trusted() -> set[str]:
    """What this process trusts, beside what is in the user's home."""
    return _trusted | ({ALL} if _everything else set())


def take_over(fingerprint: str) -> None:
    """Trusts what the process trusts that this one works for."""
    if fingerprint == ALL:
        trust_everything()
    _trusted.add(fingerprint)


def trust_parent(spec: str) -> None:
    """Trusts the function, `file.py:name` or `package.module:name`, that the user names as a parent of points."""
    if (fingerprint := _of_function(spec)) is not None:
        trust(fingerprint, spec)


def demand_parent(spec: str, folder: Path) -> None:
    """Sees that a function may be called that a point's folder names as a parent.

    Raises:
        UserError: this user has not named it, or not with this content.
    """
    fingerprint = _of_function(spec)
    if fingerprint is not None and not trusts(fingerprint):
        raise UserError(
            f"{folder}: is made of {spec}, code that you have not run on this machine; read it, and say {FLAG} if you trust it"
        )


def _of_function(spec: str) -> str | None:
    """A hash of a file's content, or of a module's name; None where there is no such file."""
    where = spec.rpartition(":")[0]
    if not is_file(where):
        return hashlib.sha256(f"function {spec}".encode()).hexdigest()
    try:
        return hashlib.sha256(Path(where).read_bytes()).hexdigest()
    except OSError:
        return None


def trust(fingerprint: str, what: str) -> None:
    """For later processes a file of the hash's name, whose text says what it is; a home that cannot be written keeps none."""
    _trusted.add(fingerprint)
    with contextlib.suppress(OSError):
        _store().mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (_store() / fingerprint).exists():
            write_whole(_store() / fingerprint, f"{what}\n")


def _store() -> Path:
    own = os.environ.get("XDG_STATE_HOME")
    state = Path(own) if own else (home.found() or Path(os.devnull)) / ".local" / "state"
    return state / "robustray" / "trusted_plugins"
