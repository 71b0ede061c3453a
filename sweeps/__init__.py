"""Run many trials: the search space, the record, the search, the places where jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from sweeps.driver import run
    from sweeps.space import Sweep

__all__ = ["Sweep", "run"]

_ROOMS = ("driver", "frontier", "judging", "record", "running", "search", "space", "view")
__getattr__ = lazy(__name__, {"Sweep": "space", "run": "driver"} | dict.fromkeys(_ROOMS, ""))
