"""Lengths of time as people write them: `6h`, `1h30m`, `90s`, or as Slurm does."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_WORDS = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS), re.ASCII)
_SLURM = re.compile(r"(?:(?P<d>\d+)-)?(?P<first>\d+)(?::(?P<second>[0-5]?\d))?(?::(?P<third>[0-5]?\d))?", re.ASCII)
_LONGEST = 366 * 86400  # a timer does not take any number


def seconds(text: str) -> float:
    """Seconds of `6h`, `1h30m`, `1.5h`, `90s`, or as Slurm writes them: `59:30`, `1:30:00`, `2-12`, `2-12:00:00`.

    Slurm's `59:30` are minutes and seconds, its `2-12` days and hours. A bare number has no unit and is refused.

    Raises:
        ValueError: it is no time, or not between a second and a year.
    """
    told = text.strip().lower()
    found = _in_words(told) if told else None
    if found is None:
        found = _as_slurm(told)
    if found is None:
        raise ValueError("no length of time; write 6h, 30m, 90s, 1h30m, or as Slurm does 1:30:00 or 2-12:00:00")
    if not 1 <= found <= _LONGEST:
        raise ValueError("must be between a second and a year")
    return found


def said(length: float) -> str:
    """`1h30m`: a length of time in whole seconds, in at most its two largest units; `seconds` reads it."""
    left, parts = round(length), list[str]()
    for unit, worth in _UNITS.items():
        if left >= worth:
            parts.append(f"{left // worth}{unit}")
            left %= worth
        elif parts:  # nothing of this unit: what follows is too fine to be said
            break
    return "".join(parts[:2]) or "0s"


def _in_words(told: str) -> float | None:
    match = _WORDS.fullmatch(told)
    return sum(float(match[unit] or 0) * worth for unit, worth in _UNITS.items()) if match else None


def _as_slurm(told: str) -> float | None:
    match = _SLURM.fullmatch(told)
    if match is None or (match["d"] is None and match["second"] is None):
        return None
    parts = [int(part) for part in (match["first"], match["second"], match["third"]) if part is not None]
    units = (3600, 60, 1) if match["d"] is not None or len(parts) == 3 else (60, 1)
    return int(match["d"] or 0) * 86400 + sum(part * unit for part, unit in zip(parts, units, strict=False))


def _as_seconds(value: object) -> object:
    """An option's value: text with units, or a number of seconds."""
    if isinstance(value, bool):
        raise ValueError("takes a length of time, such as 6h, or a number of seconds")
    if not isinstance(value, str):
        return value
    try:
        return seconds(value)
    except ValueError as error:
        raise ValueError(f"{value!r}: {error}") from None


Duration = Annotated[
    float,
    BeforeValidator(_as_seconds),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
"""An option in seconds that also takes `6h`, `90m` or `1h30m`."""
