"""The sweep's one record, and who may write it."""

from __future__ import annotations

from sweeps.record.record import JOURNAL, Judged, Members, Outcome, Record, Skipped, Snapshot, TrialRecord, read

__all__ = ["JOURNAL", "Judged", "Members", "Outcome", "Record", "Skipped", "Snapshot", "TrialRecord", "read"]
