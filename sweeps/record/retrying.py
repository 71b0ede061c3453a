"""Trials that have ended, put back: as if they had not, under their old numbers.

Optuna lets nobody change a trial that has ended, so the lines that ended it are taken out of the journal. What it was stays
beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.storages.journal._storage import JournalOperation

from robustray.errors import UserError
from robustray.files import from_json, write_whole
from sweeps.record import mending, taking_back
from sweeps.record.facts import Outcome, Snapshot
from sweeps.record.journal import OUTCOME

_ENDED = ("unjudged", "skipped", "reached")
"""Attributes of the study that say of a trial what its end made of it."""
INFEASIBLE = "infeasible: "
"""How the cause begins of a draw that no trial can be built of."""


def again(known: Snapshot, outcomes: Collection[Outcome]) -> list[int]:
    """Trials that ended in one of these ways, and that there is any point in trying again, by number."""
    return [
        trial.number
        for trial in known.trials
        if trial.outcome in outcomes
        and trial.origin not in ("lost", "derived")
        and not (trial.cause or "").startswith(INFEASIBLE)
    ]


def put_back(journal: Path, numbers: Collection[int], name: str) -> Path:
    """Takes the ends of trials out of a journal. The caller holds the folder's lock.

    Args:
        name: of what the journal was, beside it.

    Returns:
        Where that lies.

    Raises:
        UserError: the journal is damaged, or a trial is not in it.
    """
    mending.repair(journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    logs = [from_json(line) for line in lines]
    created = sum(log["op_code"] == JournalOperation.CREATE_TRIAL for log in logs)
    if missing := sorted(number for number in numbers if not 0 <= number < created):
        raise UserError(f"{journal}: there is no trial {missing[0]}; there are {created}, from 0")
    later = _ended_again(logs, numbers)
    kept = [line for line, log in zip(lines, logs, strict=True) if not _ends(log, numbers, later)]
    aside = journal.with_name(f"{journal.name}.{name}")
    shutil.copy2(journal, aside)
    write_whole(journal, b"".join(kept))
    return aside


def _ended_again(logs: Sequence[dict[str, Any]], numbers: Collection[int]) -> dict[int, str]:
    """Of these trials, those whose first end was taken back: the study's attribute that says how they ended at last."""
    found = dict[int, str]()
    for log in logs:
        for key in log.get("user_attr", ()) if log["op_code"] == JournalOperation.SET_STUDY_USER_ATTR else ():
            kind, *rest = key.split("/")
            if kind == taking_back.AGAIN and rest[2:] == [OUTCOME] and int(rest[0]) in numbers:
                found[int(rest[0])] = key
    return found


def _ends(log: dict[str, Any], numbers: Collection[int], later: Mapping[int, str]) -> bool:
    """Whether a line of the journal is part of how one of these trials ended. Ids are numbers: there is one study."""
    if log.get("trial_id") in later:  # how it ended before
        return False
    match log["op_code"]:
        case JournalOperation.SET_TRIAL_STATE_VALUES:
            return log["trial_id"] in numbers
        case JournalOperation.SET_TRIAL_USER_ATTR:
            return log["trial_id"] in numbers and OUTCOME in log["user_attr"]
        case JournalOperation.SET_TRIAL_SYSTEM_ATTR:  # constraints, which an end sets
            return log["trial_id"] in numbers and all(key.startswith("constraint") for key in log["system_attr"])
        case JournalOperation.SET_STUDY_USER_ATTR:
            if any(key in later.values() for key in log["user_attr"]):
                return True
            parts = [key.split("/") for key in log["user_attr"]]
            return all(len(part) > 1 and part[0] in _ENDED and int(part[1]) in numbers for part in parts)
    return False
