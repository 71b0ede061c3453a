"""What a toy gives: tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Rows = Sequence[Mapping[str, object]]
Tables = Mapping[str, Rows]
"""Rows by the name of a table."""
