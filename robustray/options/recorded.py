"""YAML that a program has written, from a file that anybody may have changed since."""

from __future__ import annotations

from typing import Any

import yaml

MAX_VALUES = 1_000_000
"""After aliases are expanded, as whoever walks through them does: forty lines of aliases of aliases ask for a trillion."""
MAX_DEPTH = 200
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def recorded(text: str) -> Any:
    """The value of one document, plain data only.

    Raises:
        yaml.YAMLError: it is none, it has tags of its own, it is nested without end, a number has thousands of digits, or it
            would be of more than `MAX_VALUES` values.
    """
    try:
        value = yaml.load(text, Loader=_LOADER)  # noqa: S506  the safe one
        _expanded(value, {}, 0)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, TypeError, OverflowError, AttributeError) as error:  # of a date, a number, a key that is a list
        raise yaml.YAMLError(str(error)) from None
    return value


def _expanded(value: Any, known: dict[int, int], depth: int) -> int:
    """How many values a tree has whose branches may be shared, each looked at once."""
    if not isinstance(value, dict | list | set | tuple):
        return 1
    if depth > MAX_DEPTH:  # an alias that contains itself ends here as well
        raise yaml.YAMLError("it is nested too deeply, or an alias contains itself")
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_expanded(each, known, depth + 1) for each in inside)
    if known[id(value)] > MAX_VALUES:
        raise yaml.YAMLError(f"it expands to more than {MAX_VALUES:,} values")
    return known[id(value)]
