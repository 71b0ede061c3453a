"""Judging one model: AutoAttack in shards, verdicts per image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.evaluation._judge import judge

__all__ = ["judge"]

__getattr__ = lazy(__name__, {"judge": "_judge"})
