"""Defenses, one file each, one shape: paper, formula, options, perturb, loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.defenses.adversarial import Adversarial
    from robustray.defenses.base import Defense
    from robustray.defenses.consistency import Consistency
    from robustray.defenses.fast import Fast
    from robustray.defenses.llr import Llr
    from robustray.defenses.mart import Mart
    from robustray.defenses.natural import Natural
    from robustray.defenses.rst import Rst
    from robustray.defenses.score import Score, ScorePgd
    from robustray.defenses.self_supervised import SelfSupervised
    from robustray.defenses.trades import Trades
    from robustray.defenses.tulip import Tulip

__all__ = [
    "Adversarial",
    "Consistency",
    "Defense",
    "Fast",
    "Llr",
    "Mart",
    "Natural",
    "Rst",
    "Score",
    "ScorePgd",
    "SelfSupervised",
    "Trades",
    "Tulip",
]

__getattr__ = lazy(
    __name__,
    {
        "Adversarial": "adversarial",
        "Consistency": "consistency",
        "Defense": "base",
        "Fast": "fast",
        "Llr": "llr",
        "Mart": "mart",
        "Natural": "natural",
        "Rst": "rst",
        "Score": "score",
        "ScorePgd": "score",
        "SelfSupervised": "self_supervised",
        "Trades": "trades",
        "Tulip": "tulip",
    },
)
