"""What a sweep was allowed to spend, and what it spent of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis import words
from sweeps.record import Snapshot, budgets, ledger, lives


def facts(budget: object, snapshot: Snapshot, folder: Path) -> list[tuple[str, str]]:
    """Budgets of a sweep in words, as (name, value); none where it has none.

    Args:
        budget: the space's, as `sweep.yaml` has it.
        snapshot: the record, which says what ended the search. folder: the sweep's.
    """
    known = budgets.keys(budget) if isinstance(budget, dict) else {}
    if not isinstance(budget, dict) or not known:
        return []
    ended = budgets.ended(budget, snapshot)
    return [*_spent({name: budget[name] for name in known}, folder), ("the search ended", ended or "by none of them")]


def _spent(limits: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, str]]:
    account = ledger.read(folder)
    hours = 0.0 if account is None else account.total / 3600
    if (wall := limits.get("wall")) is not None:
        yield "wall time", f"{words.duration(lives.read(folder))} of {words.duration(wall)}"
    if (most := limits.get("device_hours")) is not None:
        yield "device-hours", f"{hours:,.3g} of {most:,g}"
    if (money := limits.get("money")) is not None:
        price, currency = money["per_device_hour"], f" {money['currency']}" if money.get("currency") else ""
        yield "money", f"{hours * price:,.2f} of {money['at_most']:,.2f}{currency}, at {price:,g} a device-hour"
    if (stall := limits.get("stall")) is not None:
        yield "stall", f"a gain of hypervolume below {stall['gain']:g} in {stall['trials']} trials"
