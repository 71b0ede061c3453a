"""The sweep's one record: what it says (`facts`), the file behind it (`journal`), and the driver's hand on it (`Record`)."""

from __future__ import annotations

from sweeps.record.facts import (
    Issued,
    Judged,
    Members,
    Origin,
    Outcome,
    Reached,
    Rung,
    Sent,
    Skipped,
    Snapshot,
    TrialRecord,
)
from sweeps.record.journal import DIRECTIONS, JOURNAL, STUDY, read
from sweeps.record.mending import repair
from sweeps.record.record import Record

__all__ = [
    "DIRECTIONS",
    "JOURNAL",
    "STUDY",
    "Issued",
    "Judged",
    "Members",
    "Origin",
    "Outcome",
    "Reached",
    "Record",
    "Rung",
    "Sent",
    "Skipped",
    "Snapshot",
    "TrialRecord",
    "read",
    "repair",
]
