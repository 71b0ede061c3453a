"""Points of the frontier that are made from trained models: one file per maker, the networks beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.derived.base import Maker
    from robustray.derived.nonlinear import Nonlinear
    from robustray.derived.smoothing import Smoothing
    from robustray.derived.soup import Soup

__all__ = ["Maker", "Nonlinear", "Smoothing", "Soup"]

__getattr__ = lazy(__name__, {"Maker": "base", "Nonlinear": "nonlinear", "Smoothing": "smoothing", "Soup": "soup"})
