"""Defenses, one file each, one shape: paper, formula, options, perturb, loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray._lazy import lazy

if TYPE_CHECKING:
    from robustray.defenses.adversarial import Adversarial
    from robustray.defenses.base import Defense
    from robustray.defenses.natural import Natural
    from robustray.defenses.trades import Trades

__all__ = ["Adversarial", "Defense", "Natural", "Trades"]

__getattr__ = lazy(
    __name__, {"Adversarial": "adversarial", "Defense": "base", "Natural": "natural", "Trades": "trades"}
)
