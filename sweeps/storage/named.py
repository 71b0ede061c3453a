"""Which copies this user has named himself: files are brought from those alone, whatever a results folder says.

A folder of somebody else's could name any URL, and this machine would connect to it with the user's credentials.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from robustray.errors import UserError
from robustray.plugins import trust


def remember(url: str) -> None:
    """The user has named a sweep's copy, in `--results` or in place of a folder. Later processes know it, and workers do."""
    trust.trust(key(url), f"the copy {url}")


def demand(url: str, told: Path) -> None:
    """Sees that files may be brought from a copy.

    Args:
        told: the file that names it.

    Raises:
        UserError: this user has not named it.
    """
    if not trust.trusts(key(url)):
        raise UserError(
            f"{told}: names the copy {url}, which you have not named on this machine; if you know it, run the sweep with "
            f"--results {url.rpartition('/')[0]}, or bring all of it by python -m sweeps mirror {url} FOLDER"
        )


def key(url: str) -> str:
    """What a copy is known by among what this user trusts."""
    return hashlib.sha256(f"copy {url}".encode(errors="backslashreplace")).hexdigest()
