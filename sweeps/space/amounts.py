"""Amounts of what a node of a cluster has: memory as people write it, and resources that somebody gave a name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from robustray.registry import Real

_UNITS = {
    "": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_WORDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)
_LEAST, _MOST = 2**20, 2**50
_OURS = {"cpu": "cpus", "gpu": "gpus", "memory": "memory", "object_store_memory": "memory"}
"""Names that a cluster has for what other options say."""
FINEST = 1e-4
"""The smallest part of a resource that a cluster keeps account of."""
_HOW = "write 4 GiB, 500 MB, or a number of bytes"


def in_bytes(text: str) -> int:
    """Bytes of `4 GiB`, `4GB`, `500 MB`: binary units with an i, decimal ones without.

    Raises:
        ValueError: it is no amount of memory.
    """
    match = _WORDS.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is no amount of memory; {_HOW}")
    return round(float(match[1]) * _UNITS[match[2].lower()])


def said(amount: float) -> str:
    """`4 GiB`: bytes in the largest binary unit that they have at least one of; `in_bytes` reads it."""
    for unit in ("TiB", "GiB", "MiB"):
        if amount >= _UNITS[unit.lower()]:
            return f"{round(amount / _UNITS[unit.lower()], 2):.10g} {unit}"
    return f"{amount:.0f} B"


def _bytes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"takes an amount of memory; {_HOW}")
    return in_bytes(value) if isinstance(value, str) else value


def _sensible(value: int) -> int:
    if not _LEAST <= value <= _MOST:
        raise ValueError(f"must be between 1 MiB and 1024 TiB, not {value} bytes; {_HOW}")
    return value


def whole_above_one(value: float) -> float:
    """A cluster shares one device among jobs, or gives whole ones."""
    if value > 1 and value != int(value):
        raise ValueError(f"must be whole above 1, not {value:g}: parts are of one device")
    if 0 < value < FINEST:
        raise ValueError(f"must be 0 or at least {FINEST:g}, not {value:g}")
    return value


def _named(value: Mapping[str, float]) -> Mapping[str, float]:
    for name, amount in value.items():
        if name.strip().lower() in _OURS:
            raise ValueError(f"{name} is no name of your own; say it as resources.{_OURS[name.strip().lower()]}")
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}", name):
            raise ValueError(f"{name!r} is no name of a resource; as in `ray start --resources`: letters, digits, _.:-")
        if name.startswith(("accelerator_type:", "node:")):
            raise ValueError(f"{name}: a cluster's own; say accelerator_type: A100, and no node by its address")
        if amount <= 0:
            raise ValueError(f"{name}: {amount:g} asks for nothing; give a positive amount, or leave it out")
    return value


Memory = Annotated[
    int,
    AfterValidator(_sensible),
    BeforeValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": _LEAST}, {"type": "string"}]}),
]
"""An option in bytes that also takes `4 GiB` or `500 MB`."""
Amount = Annotated[Real, AfterValidator(whole_above_one)]
"""So many of a resource, or a part of one."""
Named = Annotated[dict[str, Amount], AfterValidator(_named)]
"""Amounts of resources that nodes were started with, by the names that they were given."""
