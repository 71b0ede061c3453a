"""What is new on a page since another state of it: pieces of its text, rows of its long table, and differences of its data.

A page is cut at marks that its template sets: `data-piece` on what stands beside each other, `data-trial` on rows of a table
that sorts. Nothing that a sweep brought along can set one, for the template escapes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robustray.files import from_json

NAMED = 'data-state=""'
"""Where the template leaves room for the name of the state that a page shows."""

_PIECE = re.compile(r'^<(\w+)[^>\n]* data-piece="([a-z-]+)"', re.MULTILINE)
_ROWS = re.compile(r'(<table id="[a-z-]+" class="sortable">.*?<tbody>\n)(.*?)(</tbody>)', re.DOTALL)
_ROW = re.compile(r'^<tr data-trial="(\d+)">.*?</tr>\n', re.DOTALL | re.MULTILINE)
_DATA = re.compile(r'<script type="application/json" id="(figures|facts)">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class State:
    """A page, cut up: HTML of its pieces without the rows of the table that sorts, those rows by trial, and its data."""

    pieces: Mapping[str, str]
    rows: Mapping[str, str]
    data: Mapping[str, Any]


def cut(page: str) -> State | None:
    """A page cut up, in the order of the page; None for one that has nothing to draw."""
    data = {name: from_json(text) for name, text in _DATA.findall(page)}
    if len(data) != 2:
        return None
    body = page[: page.index('<script type="application/json"')]
    begins = list(_PIECE.finditer(body))
    ends = [each.start() for each in begins[1:]] + [len(body)]
    pieces, rows = dict[str, str](), dict[str, str]()
    for begin, end in zip(begins, ends, strict=True):
        text = body[begin.start() : end]
        text = text[: text.rindex(f"</{begin[1]}>") + len(f"</{begin[1]}>")]
        if table := _ROWS.search(text):
            found = {row[1]: row[0] for row in _ROW.finditer(table[2])}
            if "".join(found.values()) == table[2]:  # each row is one trial's, and each trial has one
                rows, text = found, text[: table.start(2)] + text[table.end(2) :]
        pieces[begin[2]] = text
    return State(pieces, rows, data)


def changes(old: State | None, new: State) -> dict[str, Any]:
    """What makes the new state of the old one; all of the new one where the old one is not known.

    Returns:
        `order` and `pieces`: names of all pieces, and the HTML of those that are new or others. `rows`: numbers of all trials
        where these are others than before, else None; `changed`: the HTML of rows. `data`: a difference as of `delta`, or None.
    """
    before = old or State({}, {}, {})
    return {
        "order": list(new.pieces),
        "pieces": _other(before.pieces, new.pieces),
        "rows": None if list(before.rows) == list(new.rows) else list(new.rows),
        "changed": _other(before.rows, new.rows),
        "data": delta(before.data, new.data) if old else {"is": new.data},
    }


def delta(old: Any, new: Any) -> dict[str, Any] | None:
    """The difference of two JSON values; None where there is none.

    Returns:
        `{"is": value}`: another value. `{"in": {key: difference}, "gone": [key]}`: of objects, and of lists of as many objects
        or lists. `{"at": place, "out": how many, "put": values}`: of other lists, one stretch that others take the place of.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        inside = {key: {"is": value} if key not in old else delta(old[key], value) for key, value in new.items()}
        found = {key: each for key, each in inside.items() if each is not None}
        gone = [key for key in old if key not in new]
        return {"in": found, "gone": gone} if found or gone else None
    if isinstance(old, list) and isinstance(new, list):
        if len(old) == len(new) and all(isinstance(each, dict | list) for each in (*old, *new)):
            several = {str(at): each for at, pair in enumerate(zip(old, new, strict=True)) if (each := delta(*pair))}
            return {"in": several, "gone": []} if several else None
        return _stretch(old, new)
    return None if _same(old, new) else {"is": new}


def _stretch(old: list[Any], new: list[Any]) -> dict[str, Any] | None:
    """The one stretch in which two lists differ."""
    shortest = min(len(old), len(new))
    first = next((at for at in range(shortest) if not _same(old[at], new[at])), shortest)
    if first == len(old) == len(new):
        return None
    left = shortest - first
    last = next((at for at in range(left) if not _same(old[-1 - at], new[-1 - at])), left)
    return {"at": first, "out": len(old) - first - last, "put": new[first : len(new) - last]}


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike: to Python, 1, 1.0 and true are equal."""
    if isinstance(one, dict | list) or isinstance(other, dict | list):
        return type(one) is type(other) and delta(one, other) is None
    return type(one) is type(other) and bool(one == other)


def _other(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in new.items() if old.get(name) != text}
