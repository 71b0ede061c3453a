"""Attacks: loss x start x step x projection inside a threat, and the adapter to AutoAttack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.lazy import lazy

if TYPE_CHECKING:
    from robustray.attacks.base import Attack, BoundAttack
    from robustray.attacks.pgd import Pgd
    from robustray.attacks.threats import Threat

__all__ = ["Attack", "BoundAttack", "Pgd", "Threat"]

__getattr__ = lazy(__name__, {"Attack": "base", "BoundAttack": "base", "Pgd": "pgd", "Threat": "threats"})
