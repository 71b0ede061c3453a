"""What jobs want of a node and what nodes have, in words and compared. Knows no Ray but the names that it has for things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sweeps.running.packing import NOTHING
from sweeps.space.amounts import said

KIND = "accelerator_type:"
"""Before the name of an accelerator: the resource that a node with it has one of."""
MOST = 5
"""Nodes that are listed."""


class Has(Protocol):
    """A node, as far as this is concerned."""

    @property
    def name(self) -> str: ...

    @property
    def has(self) -> str: ...


def amount(name: str, much: float) -> str:
    """`12 GiB of memory`, `accelerator A100`, `2 slow`."""
    if name.startswith(KIND):
        return f"accelerator {name.removeprefix(KIND)}"
    return f"{said(much)} of memory" if name == "memory" else f"{much:g} {name}"


def listed(cpus: float, gpus: float, besides: Mapping[str, float] = NOTHING) -> str:
    """`4 CPUs, 1 GPUs, accelerator A100, 12 GiB of memory and 2 slow`."""
    parts = [f"{cpus:g} CPUs", f"{gpus:g} GPUs", *(amount(*each) for each in sorted(besides.items()))]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def lacking(besides: Mapping[str, float], has: Mapping[str, float]) -> bool:
    """Whether a node has less than every job takes of it besides CPUs and GPUs."""
    return any(has.get(name, 0.0) + 1e-9 < much for name, much in besides.items())


def there(nodes: Sequence[Has]) -> str:
    """What there is, node by node."""
    each = [f"{node.name} has {node.has}" for node in nodes[:MOST]]
    return "; ".join(each) + (f"; and {len(nodes) - MOST} more" if len(nodes) > MOST else "")


def short(besides: Mapping[str, float], nodes: Sequence[Has]) -> str:
    """What every job takes, and what there is in place of it."""
    wanted = ", ".join(amount(*each) for each in sorted(besides.items()))
    remedy = "start one with it (`ray start --resources`, or a machine that has it), or change resources"
    return f"{wanted}; {there(nodes)}; {remedy}"
