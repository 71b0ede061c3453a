"""Judging one model: AutoAttack in shards, verdicts per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.judging.in_memory import judge

__all__ = ["judge"]

__getattr__ = lazy(__name__, {"judge": "in_memory"})
