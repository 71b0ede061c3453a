"""What of a sweep's folder a copy has to know: the record and what it says is unfinished, tables that grow, sets of files.

The record's own package reads all of it, with Optuna. Here a few words of its lines do, since workers and readers ask.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from robustray.files import from_json

RECORD = "study.journal"
PRINTED = "output.log"
TABLES = ("ledger.csv", "lives.csv", "events.log", PRINTED)
"""Files beside the record that grow by lines."""
LEASES = ".lease"
"""Where a copy's leases lie. No file of a results folder begins with a dot and is copied."""
CREATED = 4
"""Optuna's number of the operation that makes a trial."""
_NUMBERED = re.compile(r"(trials|judgements)/(\d{4,})/")
_LATE = {"state.pt": 1, "previous.pt": 1, "last.pt": 2}
"""Files that name others, and are written over: they come after what they name."""


@dataclass(frozen=True)
class Known:
    """What the record says of trials: how many there are, and which have ended."""

    trials: int
    ended: frozenset[int]


def whole_lines(data: bytes) -> bytes:
    """All but a last line that has no end."""
    return data[: data.rfind(b"\n") + 1]


def known(journal: bytes) -> Known:
    """What a record says, as far as its lines can be read: one that is damaged is refused when the record is opened."""
    trials, ended = 0, set[int]()
    for line in journal.splitlines():
        try:
            told: Any = from_json(line)
        except ValueError:
            continue
        if not isinstance(told, dict):
            continue
        trials += told.get("op_code") == CREATED
        attributes = told.get("user_attr")
        if isinstance(attributes, dict) and "outcome" in attributes and isinstance(told.get("trial_id"), int):
            ended.add(told["trial_id"])
        elif isinstance(attributes, dict):  # of the sweep; see record/taking_back.py
            for name, value in attributes.items():
                kind, _, rest = name.partition("/")
                number, _, what = rest.partition("/")
                if kind == "waits" and isinstance(value, dict):
                    ended -= {int(each) for each in value if each.isdecimal()}
                elif kind == "again" and what.endswith("/outcome") and number.isdecimal():
                    ended.add(int(number))
    return Known(trials, frozenset(ended))


def trial(name: str) -> int | None:
    """The trial that a file belongs to; None for the sweep's own."""
    found = _NUMBERED.match(name)
    return None if found is None else int(found[2])


def known_to(name: str, trials: int) -> bool:
    """Whether a record of so many trials may name a file."""
    number = trial(name)
    return number is None or number < trials


def set_of(name: str) -> str:
    """The set of files that a file belongs to, which is copied as of one moment: a trial's folder, or one of the sweep's."""
    found = _NUMBERED.match(name)
    return found[0] if found else name[: name.find("/") + 1]


def place(name: str) -> int:
    """When a file of a set is copied: what names other files comes after them."""
    return _LATE.get(name.rpartition("/")[2], 0)


def heavy(name: str) -> bool:
    """Whether a file holds weights or states: needed by who goes on from it or judges it, and by no table or figure."""
    return name.startswith(("trials/", "derived/")) and name.endswith(".pt")
