"""Trials that between them hold every registered part, or every pair of parts of different kinds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from pydantic import ValidationError

from robustray.registry import parts
from tests.robustray.made import made, trial

KINDS = ("defense", "update", "optimiser", "schedule", "averaging")
Ends = frozenset[tuple[str, int]]
"""Some axes and the choice taken on each."""


def axes() -> dict[str, list[tuple[str, Any]]]:
    """What a trial chooses, independently: for each key of a trial, a name and a value for every choice."""
    found: dict[str, list[tuple[str, Any]]] = {
        kind: [(name, made(cls).model_dump(mode="json")) for name, cls in parts(kind).items()] for kind in KINDS
    }
    found["curriculum"] = [
        ("none", None),
        *((name, made(cls).model_dump(mode="json")) for name, cls in parts("curriculum").items()),
    ]
    for options in found["schedule"]:
        options[1].update(epochs=2, lr=0.1)
    found["batch"] = [
        (name, {"size": 400, "augment": [made(cls).model_dump(mode="json")]})
        for name, cls in parts("augmentation").items()
    ]
    found["batch"] += [
        (name, {"size": 400, "mix": made(cls).model_dump(mode="json")}) for name, cls in parts("mix").items()
    ]
    found["batch"].append(("noise", {"size": 400, "label_noise": 0.2}))
    found["precision"] = [(name, name) for name in ("fp32", "tf32", "bf16")]
    found["deterministic"] = [(str(value), value) for value in (False, True)]
    return found


def covering() -> pytest.MarkDecorator:
    """Runs a test with `options` of a trial in which every choice of every axis has its turn, in few rows."""
    return _cover(1)


def pairwise() -> pytest.MarkDecorator:
    """Runs a test with `options` of a trial in which every two choices of different axes meet, in few rows."""
    return _cover(2)


def _cover(strength: int) -> pytest.MarkDecorator:
    """Greedily: each row holds what is open first, and of every other axis the choice that closes most."""
    known = axes()
    places = [[(axis, number) for number in range(len(choices))] for axis, choices in known.items()]
    refused = {frozenset(pair) for a, b in itertools.combinations(places, 2) for pair in itertools.product(a, b)
               if not _goes(dict(pair), known)}  # fmt: skip
    left: dict[Ends, None] = {}  # a set in order
    for some in itertools.combinations(places, strength):
        left |= dict.fromkeys(ends for ends in map(frozenset, itertools.product(*some)) if ends not in refused)
    rows = []
    while left:
        row = set(next(iter(left)))
        for axis in places:
            if not {name for name, _ in axis} & {name for name, _ in row}:
                fits = [end for end in axis if not any(frozenset({end, other}) in refused for other in row)]
                row.add(max(fits, key=lambda end: len(_with(end, row, strength) & left.keys())))
        for ends in itertools.combinations(row, strength):
            left.pop(frozenset(ends), None)
        picked = dict(row)
        rows.append({axis: known[axis][picked[axis]] for axis in known})
    return pytest.mark.parametrize(
        "options",
        [
            pytest.param(
                {axis: value for axis, (_, value) in row.items()}, id="-".join(name for name, _ in row.values())
            )
            for row in rows
        ],
    )


def _with(end: tuple[str, int], row: set[tuple[str, int]], strength: int) -> set[Ends]:
    """What a row would cover anew with one choice more."""
    return {frozenset({end, *others}) for others in itertools.combinations(row, strength - 1)}


def _goes(picked: dict[str, int], known: dict[str, list[tuple[str, Any]]]) -> bool:
    """Whether a trial takes these choices; some defenses need labels of one class, say."""
    try:
        trial(**{axis: known[axis][number][1] for axis, number in picked.items()})
    except ValidationError:
        return False
    return True
