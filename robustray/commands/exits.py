"""Exit codes besides 0 and 2, a mistake of the user's."""

from __future__ import annotations

INTERRUPTED = 130
"""Ctrl-C, as shells say it; the same command goes on."""
EXIT_CODES = (
    "Exit codes: 0 done, 1 what was looked at does not hold (judge --verify, check, doctor), 2 a mistake that the last line "
    f"names, {INTERRUPTED} interrupted: the same command goes on."
)
"""Of every command but a sweep's own."""
