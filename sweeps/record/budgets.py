"""Which budget has ended a search: kept in the record as settings, which are decided once, under the budget and its amount.

So what is spent stays spent in later lives, and a budget of another amount is another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweeps.record.facts import Snapshot

KEPT = "budget/"
_AMOUNTS = {"money": ("at_most", "per_device_hour"), "stall": ("gain", "trials")}


def keys(budget: Mapping[str, Any]) -> dict[str, str]:
    """The setting of each budget of a space by its name; those that are not set, or are no numbers, are left out.

    Args:
        budget: the space's, as plain values.
    """
    found = {}
    for name, value in budget.items():
        amounts = [value.get(part) for part in _AMOUNTS.get(name, ())] if isinstance(value, dict) else [value]
        if amounts and all(isinstance(amount, int | float) and not isinstance(amount, bool) for amount in amounts):
            found[name] = f"{KEPT}{name}={'/'.join(f'{amount:g}' for amount in amounts)}"
    return found


def ended(budget: Mapping[str, Any], snapshot: Snapshot) -> str | None:
    """What was said when one of these budgets ended the search; None where none has."""
    said = [snapshot.settings[key] for key in keys(budget).values() if key in snapshot.settings]
    return str(said[-1]) if said else None
