"""Derived points as a record has them: what they were made of, how, and what making them took."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sweeps.record.facts import Snapshot, TrialRecord

ASKED = "derive asked/"
"""Settings of the record that hold requests made after the sweep, by their hash."""
PLANNED = "derive planned/"
"""Settings of the record that hold what a request came to, by its hash: a list, of which each point takes one."""
_SPEC = re.compile(r"\.\./(\d+)(?:/epoch-(\d+)\.pt)?")


def derived(trial: TrialRecord) -> bool:
    """Whether it was made of others without training."""
    return trial.origin == "derived"


def name_of(request: Mapping[str, Any]) -> str:
    """A request's name in the record, of what it comes to as plain values: equal requests are one."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:12]


def unplanned(snapshot: Snapshot, requests: Iterable[Mapping[str, Any]]) -> bool:
    """Whether it is still open what points there will be: of these requests, those of the space, or any made since."""
    names = {name_of(request) for request in requests}
    names |= {name.removeprefix(ASKED) for name in snapshot.settings if name.startswith(ASKED)}
    return any(PLANNED + name not in snapshot.settings for name in names)


def recipe(params: Mapping[str, Any]) -> tuple[str, str]:
    """Its maker, and its numbers in words: `smoothing`, `alpha 0.7`."""
    maker, *numbers = params.items()
    return str(maker[1]), ", ".join(f"{name.rpartition('.')[2]} {value}" for name, value in numbers)


def parents(snapshot: Snapshot) -> dict[int, tuple[str, ...]]:
    """What each derived point was made of, in its maker's order: `3`, `3@10` for a snapshot of trial 3, `zoo:NAME`, a path."""
    met: dict[str, int] = {}
    found: dict[int, tuple[str, ...]] = {}
    for trial in filter(derived, snapshot.trials):
        at = met[trial.request] = (
            met.get(trial.request, -1) + 1
        )  # points of a request are issued in the order of its plan
        plan = snapshot.settings.get(PLANNED + trial.request, ())
        specs = plan[at]["specs"] if at < len(plan) else None
        found[trial.number] = tuple(map(str, trial.parents)) if specs is None else tuple(map(named, specs))
    return found


def named(spec: str) -> str:
    """A parent, given as it is seen from a point's folder, in a word."""
    own = _SPEC.fullmatch(spec)
    if own is None:
        return spec
    return str(int(own[1])) + (f"@{int(own[2])}" if own[2] else "")


def own_cost(trial: TrialRecord, of: Callable[[int], TrialRecord], name: str) -> float:
    """What of a cost is a trial's own: a derived point's metrics hold those of its parents too. 0 where it is not known."""
    cost = trial.metrics.get(name, 0.0)
    if not derived(trial) or name not in trial.metrics:
        return cost
    return max(0.0, cost - sum(of(parent).metrics.get(name, 0.0) for parent in set(trial.parents)))
