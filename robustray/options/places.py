"""Options that say where files lie: absolute as soon as they are read, since workers may start in other folders."""

from __future__ import annotations

import os
from typing import TypeVar

from pydantic import AfterValidator, BaseModel

M = TypeVar("M", bound=BaseModel)


def _absolute(value: str | None) -> str | None:
    return value if value is None else os.path.abspath(os.path.expanduser(value))  # noqa: PTH100, PTH111  never raises


PLACE = AfterValidator(_absolute)
"""Marks such an option, `path: Annotated[str, PLACE]`: `~` is the home, and relative paths start at the working directory."""


def where_it_was(then: BaseModel, now: M) -> M:
    """Options with the places of earlier ones, where nothing lies any more: files that were moved are the same files.

    Args:
        then: the earlier options. now: those to be compared with them, not changed.
    """
    if type(then) is not type(now):
        return now
    found: dict[str, object] = {}
    for name, field in type(now).model_fields.items():
        before, after = getattr(then, name), getattr(now, name)
        if PLACE in field.metadata:
            if before and after and not os.path.exists(before):  # noqa: PTH110
                found[name] = before
        elif isinstance(before, BaseModel) and isinstance(after, BaseModel):
            found[name] = where_it_was(before, after)
    return now.model_copy(update=found)
