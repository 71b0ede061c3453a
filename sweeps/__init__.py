"""Run many trials: the search space, the record, the controller, the backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from sweeps.driver import run
    from sweeps.space import Sweep

__all__ = ["Sweep", "run"]

_MODULES = ("backends", "controller", "driver", "judging", "record", "space")
__getattr__ = lazy(__name__, {"Sweep": "space", "run": "driver"} | dict.fromkeys(_MODULES, ""))
