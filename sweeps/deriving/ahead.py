"""What requests for points will come to, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from robustray.derived.base import Maker

_MIXTURE = 2.0
"""Judgements of one network that judging a mixture is as dear as: every step goes through both of its parents."""


def described(makers: Sequence[Maker]) -> str:
    """`soup (2 for every two neighbours on the frontier), smoothing (3), nonlinear (4)`."""
    return ", ".join(f"{maker.name} ({_count(maker)})" for maker in makers)


def _count(maker: Maker) -> str:
    each = len(maker.numbers(_parents(maker)))
    return f"{each} for every two neighbours on the frontier" if maker.parents == "neighbours" else str(each)


def judgements(makers: Sequence[Maker], settings: float) -> float:
    """How many judgements of a trained network all points are as dear as.

    Args:
        settings: on the trained frontier, of which every two beside each other are neighbours.
    """
    total = 0.0
    for maker in makers:
        groups = max(0.0, settings - 1) if maker.parents == "neighbours" else 1.0
        total += groups * len(maker.numbers(_parents(maker))) * (_MIXTURE if maker.mixes else 1.0)
    return total


def _parents(maker: Maker) -> int:
    return 2 if maker.parents == "neighbours" else len(maker.parents)
