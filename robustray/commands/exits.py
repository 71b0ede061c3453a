"""Exit codes besides 0 and 2, a mistake of the user's."""

from __future__ import annotations

INTERRUPTED = 130
"""Ctrl-C, as shells say it; the same command goes on."""
