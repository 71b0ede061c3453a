"""Names of files in a copy, and where a copy's folder lies on this machine. Knows nothing of stores."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from robustray.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_LONGEST = 255
"""Bytes of a name in most file systems."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_url(text: str) -> bool:
    """Whether results are named by protocol, `s3://bucket/path`, and not by folder."""
    return _URL.match(text) is not None


def checked(url: str) -> str:
    """A URL of results as it is written everywhere from now on: without an end of slashes.

    Raises:
        UserError: it names no place, or holds a password, which would be written into records and logs.
    """
    try:
        parts = urlsplit(url)
        secret = parts.password is not None or "@" in parts.netloc
    except ValueError as error:
        raise UserError(f"{url}: not a URL ({error})") from None
    if secret:
        raise UserError(
            "--results: a URL with a name or password in it would be written into logs; say them as the store's library "
            "wants them (AWS_PROFILE, AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS ...)"
        )
    place = parts.netloc + parts.path
    if not parts.scheme or url[len(parts.scheme) :][:3] != "://" or not place.strip("/"):
        raise UserError(f"{url}: names no place; PROTOCOL://BUCKET/PATH is one, as s3://bucket/results")
    if parts.query or parts.fragment or _CONTROL.search(url) or ".." in PurePosixPath(place).parts:
        raise UserError(f"{url}: a place for results has no ?, #, .. and no control characters in it")
    return url.rstrip("/")


def cache(url: str, results: Path = Path("results")) -> Path:
    """The folder of results on this machine for what lies at a URL: `results/s3-bucket-path-1a2b3c4d`.

    The digits tell apart what reads alike: they are of the SHA-256 of the URL.
    """
    told = re.sub(r"[^A-Za-z0-9.]+", "-", url).strip("-.")[:80]
    return results / f"{told}-{hashlib.sha256(url.encode()).hexdigest()[:8]}"


def why_not(name: str) -> str | None:
    """Why a name from a listing can be no file below a folder; None where it can.

    A store takes any key. What would climb out of the folder, or be another file than it says, is never written.
    """
    if not name or name.endswith("/"):
        return "is a folder"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "is absolute"
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return "climbs out of the folder"
    if any(part.startswith(".") for part in parts):
        return "begins with a dot"
    if "\\" in name or _CONTROL.search(name):
        return "has odd characters"
    try:
        long = any(len(part.encode()) > _LONGEST for part in parts) or len(name) > 900
    except UnicodeEncodeError:
        return "is in no encoding"
    return "is too long" if long else None
