"""What is damaged in a journal: what a killed driver leaves is cut off at once, anything else where the user says so."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.storages.journal._storage import JournalOperation, JournalStorageReplayResult

from robustray.errors import UserError
from robustray.files import from_json, write_whole

_BEGIN = re.compile(rb'\{"op_code":')
_KNOWN = {int(operation) for operation in JournalOperation}
_UNMARKED = {JournalOperation.SET_TRIAL_PARAM, JournalOperation.SET_TRIAL_SYSTEM_ATTR}


@dataclass(frozen=True)
class Damage:
    """The first line of a journal that cannot be read."""

    line: int  # from 1
    offset: int  # bytes before it
    why: str
    torn: bool  # the last line, without its end: a driver was killed while it wrote

    def __str__(self) -> str:
        return f"line {self.line} is {self.why}"


@dataclass(frozen=True)
class Cut:
    """What cutting a journal did."""

    damage: Damage
    kept: str  # in words
    lost: str
    whole: Path  # the journal as it was
    tail: Path  # where the bytes from the damage on lie now
    aside: Path | None  # where the folders of trials lie that are no longer in the record


def damage(data: bytes) -> Damage | None:
    """The first line that is torn, glued to another, no JSON, unknown to Optuna, or of a trial that is not there."""
    known, offset = JournalStorageReplayResult(""), 0
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        why = "torn" if not line.endswith(b"\n") else _why(line, known)
        if why is not None:
            return Damage(number, offset, why, why == "torn")
        offset += len(line)
    return None


def damage_of(journal: Path) -> Damage | None:
    """The first line of a file that cannot be read."""
    return damage(journal.read_bytes())


def _why(line: bytes, known: JournalStorageReplayResult) -> str | None:
    try:
        log = from_json(line)
    except ValueError:
        return "two in one, glued to each other" if len(_BEGIN.findall(line)) > 1 else "no JSON"
    if not isinstance(log, dict) or "op_code" not in log:
        return "no line of a record"
    if log["op_code"] not in _KNOWN:
        return f"unknown (operation {log['op_code']!r}; is it of another version of Optuna?)"
    if "trial_id" in log and log["trial_id"] not in known._trials:  # Optuna would pass over it without a word
        return "of a trial that is not there"
    try:
        known.apply_logs([log])
    except Exception as error:  # whatever Optuna stumbles over
        return f"no sequel to the lines before it ({type(error).__name__})"
    return None


def repair(journal: Path) -> None:
    """Cuts a torn last line and a last ask that was never handed out off a journal.

    The driver is the only writer, so what a kill leaves is always last. A torn line left in place would be glued to the next
    write and make the file unreadable. An ask is one line; in folders of before it was several, and one without its last line
    would stay in the study for ever as running. Such asks elsewhere than at the end are told as lost by the record.

    Raises:
        UserError: another line is damaged, which no kill of a driver does.
    """
    data = journal.read_bytes()
    found = damage(data)
    if found is not None and not found.torn:
        raise UserError(
            f"{journal}: {found}; python -m sweeps repair {journal.parent} keeps what comes before it, --fresh begins anew"
        )
    keep = len(data) if found is None else found.offset
    lines = data[:keep].splitlines(keepends=True)
    logs = [from_json(line) for line in lines]
    kinds = [log["op_code"] for log in logs]
    asked = max((i for i, kind in enumerate(kinds) if kind == JournalOperation.CREATE_TRIAL), default=None)
    if asked is not None and "issued" not in logs[asked].get("user_attrs", {}) and set(kinds[asked + 1 :]) <= _UNMARKED:
        keep = sum(map(len, lines[:asked]))
    if keep < len(data):
        with journal.open("r+b") as file:
            file.truncate(keep)
            os.fsync(file.fileno())


def cut(journal: Path, found: Damage, name: str) -> Cut:
    """Cuts a journal before its first damaged line. Nothing is deleted: all of it is copied first, by `name`.

    A trial that is no longer in the record would be drawn anew under its old number, perhaps with other options, so its
    folders are set aside too. The caller holds the folder's lock.

    Raises:
        UserError: nothing comes before the damage.
    """
    data = journal.read_bytes()
    head, rest = data[: found.offset], data[found.offset :]
    if not head:
        raise UserError(f"{journal}: {found}, and nothing comes before it; --fresh renames the folder and begins anew")
    tail = journal.with_name(f"{journal.name}.{name}")
    whole = journal.with_name(f"{journal.name}.before-{name}")
    write_whole(whole, data)  # first: whatever comes after may fail
    write_whole(tail, rest)
    trials = sum(log.get("op_code") == JournalOperation.CREATE_TRIAL for log in _read(head))
    aside = _set_aside(journal.parent, trials, name)
    write_whole(journal, head)
    return Cut(found, _words(head), _words(rest), whole, tail, aside)


def _set_aside(folder: Path, trials: int, name: str) -> Path | None:
    aside = None
    for path in [*sorted(folder.glob("trials/*")), *sorted(folder.glob("judgements/*"))]:
        if re.fullmatch(r"\d{4,}", path.name) and int(path.name) >= trials:
            aside = folder / name
            (aside / path.parent.name).mkdir(parents=True, exist_ok=True)
            path.rename(aside / path.parent.name / path.name)
    return aside


def _read(data: bytes) -> Iterator[dict[str, Any]]:
    """All that can still be read, also within lines that are damaged."""
    for match in _BEGIN.finditer(data):
        text = data[match.start() : data.find(b"\n", match.start()) + 1 or None]
        try:
            yield json.JSONDecoder().raw_decode(text.decode(errors="replace"))[0]
        except (ValueError, RecursionError):
            continue


def _words(data: bytes) -> str:
    said: Counter[str] = Counter()
    for log in _read(data):
        keys = {key.partition("/")[0] for key in log.get("user_attr", {})}
        said["trials begun"] += log["op_code"] == JournalOperation.CREATE_TRIAL
        said["outcomes"] += "outcome" in keys
        said["judgements"] += "judged" in keys
        said["openings of test"] += "members" in keys
    told = [f"{what}: {count}" for what, count in said.items() if count]
    return f"{len(data.splitlines())} lines" + (f" ({', '.join(told)})" if told else "")
