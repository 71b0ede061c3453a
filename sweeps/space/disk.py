"""`disk` in a search space: how much a sweep may keep, and what it does when there is no room."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from robustray.registry import Options
from sweeps.space.durations import Duration

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?i?)b", re.ASCII | re.IGNORECASE)


def size(text: str) -> int:
    """Bytes of `20 GB`, `500MB`, `1.5 TiB`: powers of ten, or of two with an i.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _UNITS:
        raise ValueError(f"{text!r}: no size; write 20 GB, 500 MB or 1.5 TiB")
    return round(float(found[1]) * _UNITS[found[2].lower()])


def described(count: float) -> str:
    """`20 GB`: bytes to three digits, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if round(count, 1) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _as_bytes(value: object) -> object:
    return size(value) if isinstance(value, str) else value


Size = Annotated[
    int,
    BeforeValidator(_as_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""An option in bytes that also takes `20 GB`."""


class Disk(Options):
    """What a sweep may keep on disk, and what it does when there is no room. May differ each time it is gone on with."""

    quota: Size | None = Field(
        None,
        gt=0,
        description="what the sweep's folder may hold: 20 GB. It does not begin where it would need more; as it comes near, it "
        "deletes what `python -m sweeps prune` would, which never is a result; null for no limit",
    )
    wait: Duration | None = Field(
        3600.0,
        gt=0,
        description="where the disk is full, how long to wait for room before giving up; null gives up at once. Either way "
        "nothing is lost, and the same command goes on",
    )
