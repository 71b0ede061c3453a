"""Trials that between them hold every registered part, or every pair of parts of different kinds."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from robustray.registry import parts
from tests.robustray.made import made

KINDS = ("defense", "update", "optimiser", "schedule", "averaging")


def axes() -> dict[str, list[tuple[str, Any]]]:
    """What a trial chooses, independently: for each key of a trial, a name and a value for every choice."""
    found: dict[str, list[tuple[str, Any]]] = {
        kind: [(name, made(cls).model_dump(mode="json")) for name, cls in parts(kind).items()] for kind in KINDS
    }
    found["precision"] = [(name, name) for name in ("fp32", "bf16")]
    return found


def covering() -> pytest.MarkDecorator:
    """Runs a test with `options` of a trial in which every choice of every axis has its turn: as few as the longest axis."""
    known = axes()
    rows = []
    for number in range(max(len(choices) for choices in known.values())):
        picked = {axis: choices[number % len(choices)] for axis, choices in known.items()}
        rows.append(_row(picked))
    return pytest.mark.parametrize("options", rows)


def pairwise() -> pytest.MarkDecorator:
    """Runs a test with `options` of a trial in which every two choices of different axes meet; greedily, few rows."""
    known = axes()
    names = list(known)
    open_pairs = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in range(len(known[a]))
        for j in range(len(known[b]))
    }
    rows = []
    while open_pairs:
        (a, i), (b, j) = min(open_pairs)
        row = {a: i, b: j}
        for axis in names:
            if axis not in row:
                row[axis] = max(range(len(known[axis])), key=lambda k: _gain(row, axis, k, names, open_pairs))
        open_pairs -= {((x, row[x]), (y, row[y])) for x, y in itertools.combinations(names, 2)}
        rows.append(_row({axis: known[axis][row[axis]] for axis in names}))
    return pytest.mark.parametrize("options", rows)


def _gain(row: dict[str, int], axis: str, choice: int, names: list[str], open_pairs: set[Any]) -> tuple[int, int]:
    pairs = [
        tuple(sorted(((other, k), (axis, choice)), key=lambda end: names.index(end[0]))) for other, k in row.items()
    ]
    return sum(pair in open_pairs for pair in pairs), -choice


def _row(picked: dict[str, tuple[str, Any]]) -> Any:
    options = {axis: value for axis, (_, value) in picked.items()}
    options["schedule"] |= {"epochs": 2, "lr": 0.1}
    return pytest.param(options, id="-".join(name for name, _ in picked.values()))
