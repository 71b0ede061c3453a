"""Measures of the frontier's members, as a record has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.record.facts import Snapshot

_MEASURED = "measured/"
"""Settings of the record that hold what was measured of a member, by `key`."""


@dataclass(frozen=True)
class Measured:
    """What a measure of a sweep came to, of one trial on images of one split."""

    trial: int
    split: str
    name: str  # in `measures` of the space
    value: float | None  # None where it is not finite
    low: float | None  # ends of its 95 % interval, where there is one
    high: float | None
    unit: str
    images: int
    folder: str  # of all that was found, relative to the sweep's


def key(trial: int, split: str, name: str, asked: Mapping[str, Any]) -> str:
    """Where the record keeps a measurement. Other options, or other numbers of images, are another one.

    Args:
        asked: all that it depends on besides, as plain data.
    """
    mark = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
    return f"{_MEASURED}{trial}/{split}/{name}/{mark}"


def plain(measured: Measured) -> dict[str, Any]:
    """As the record keeps it."""
    return asdict(measured)


def found(snapshot: Snapshot) -> Iterator[Measured]:
    """All measurements of members; of one that was asked for twice with different options, the later one last."""
    for name, value in snapshot.settings.items():
        if name.startswith(_MEASURED):
            yield Measured(**value)
