"""The race: a search that pauses every trial at every rung, and goes on with whatever promises most per second."""

from __future__ import annotations

from sweeps.search.race.options import RaceOptions
from sweeps.search.race.race import Race

__all__ = ["Race", "RaceOptions"]
