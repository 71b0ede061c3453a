"""Errors that are the user's to mend: one clear line, exit code 2, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in a YAML file, a flag or a folder that the user can put right. The message is the whole story."""


class Diverged(Exception):
    """Training left the finite numbers."""


class Paused(Exception):
    """Training was asked to stop between two steps; a checkpoint of that moment is on disk."""


class NotFinite(ValueError):
    """A model under attack, or its gradients, left the finite numbers: the sign of a NaN would be no step at all."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean 'beta'?` where a known word is close, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known) or 'none'}"
