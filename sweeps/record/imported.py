"""Trials of other sweeps that a search learns from: what was known of them when it began, and where they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweeps.record.known import Source
from sweeps.record.record import Record

NAME = "imported"
"""The setting of the record that holds them. They are no trials of this sweep: without number or folder, judged by nobody."""


@dataclass(frozen=True)
class Imported:
    """One setting of another sweep.

    Attributes:
        source: the sweep's folder, as the space names it. trial: its number there, the first of its replicates.
        space: the hash of that sweep's space. weights: SHA-256 of the weights that counted, None where nothing tells.
        params: the values of the options that are searched here.
        values: by metric, what is known best of it, the mean over replicates.
        known: by whom that is measured.
    """

    source: str
    trial: int
    space: str
    weights: str | None
    params: Mapping[str, Any]
    values: Mapping[str, float]
    known: Source


def imported(settings: Mapping[str, Any]) -> tuple[Imported, ...]:
    """What a record's settings say came in."""
    return tuple(Imported(**each) for each in settings.get(NAME, ()))


def of(record: Record) -> tuple[Imported, ...]:
    """What came into a record."""
    return imported({NAME: record.setting(NAME) or ()})


def keep(record: Record, found: Sequence[Imported]) -> None:
    """Writes down what comes in: one line of the record, so all of it or nothing."""
    record.setting(NAME, [asdict(each) for each in found])
