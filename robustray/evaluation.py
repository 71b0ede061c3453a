"""The former name of `robustray.judging`, for scripts of before."""

from __future__ import annotations

from robustray.judging.in_memory import judge

__all__ = ["judge"]
