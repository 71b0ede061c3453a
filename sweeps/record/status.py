"""`status.json`: what a sweep is at, written by its driver about once a second, for whoever looks from outside.

Another terminal, another machine, a monitor, a script. It is no part of the record, and nothing of a sweep depends on it: the
record says what has ended, this what is under way, as it was at `at`.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustray.files import from_json
from robustray.plain import plain

FILE = "status.json"
FORMAT: Literal[1] = 1
"""Rises where a field changes its meaning; new fields alone do not raise it."""
LARGEST = 16 * 2**20
"""Bytes; no sweep comes near it."""

Phase = Literal["at work", "ended", "stopped"]
"""Of the driver that wrote it: at work, done with the whole sweep, or gone in good order before that."""
Amount = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Work(_Part):
    """A job at work."""

    name: str
    kind: str  # train, judge, derive ...
    trial: int
    seconds: Seconds  # since it began
    epoch: int | None = None  # of training, as far as it was heard of
    epochs: int | None = None
    metrics: dict[str, float] = {}  # by the cheap attack, at that epoch


class Point(_Part):
    """A setting on the standing frontier."""

    trials: tuple[int, ...]
    values: dict[str, float]  # accuracies and objectives on the selection set, the best that is known
    judged: bool  # else a bound that can only fall
    tested: dict[str, float] = {}  # accuracies on test, of members
    params: dict[str, Any] = {}


class Failure(_Part):
    """A trial that could not be trained, or judged."""

    trial: int
    outcome: str  # failed, diverged, out_of_memory; `unjudged` where its judging failed
    cause: str
    last: tuple[str, ...] = ()  # lines of its log


class Judging(_Part):
    """Trials by the state of their judging on the selection set."""

    in_full: Amount = 0
    skipped: Amount = 0
    running: Amount = 0
    waiting: Amount = 0
    failed: Amount = 0
    flagged: Amount = 0
    members: Amount = 0
    tested: Amount = 0


class Status(_Part):
    """A sweep at one moment. Times are in seconds, accuracies are fractions."""

    format: Literal[1] = FORMAT
    name: str
    at: datetime  # of the writer's clock, with its zone
    beat: Amount = 0  # rises with every write of one driver
    every: Seconds = 1.0  # between two writes
    phase: Phase
    error: str | None = None  # what ended the driver, where it stopped on a mistake
    host: str = ""
    machine: str = ""  # tells apart machines, and process spaces of one: see `here`
    pid: int = 0
    begun: float = 0.0  # when the process did, by its own machine

    where: str = ""  # `2 at a time on Ray`; "" before it is known
    slots: Amount = 1  # jobs at a time
    dashboard: str | None = None
    elapsed: Seconds = 0.0  # of this life of the driver
    worked: Seconds = 0.0  # at work, in all lives
    quiet: Seconds = 0.0  # since a job last said something
    left: Seconds | None = None  # until the end, as far as it can be guessed
    until: float | None = None  # a deadline, from now
    budget: str = ""

    wanted: Amount = 0  # trials
    outcomes: dict[str, Amount] = {}
    infeasible: Amount = 0
    training: Amount = 0
    waiting: Amount = 0
    paused: Amount = 0
    taken_up: Amount = 0  # of all: stopped when a budget was spent, gone on with by a larger one
    judging: Judging | None = None  # None where nothing is judged
    device_seconds: Seconds = 0.0
    images_per_second: Seconds | None = None
    busy: Annotated[float, Field(ge=0, le=1)] | None = None  # share of the slots' time that jobs worked, in this life

    objectives: dict[str, str] = {}
    hypervolume: Seconds | None = None  # of the standing frontier's accuracies, from 0
    frontier: tuple[Point, ...] = ()
    jobs: tuple[Work, ...] = ()
    failures: tuple[Failure, ...] = ()  # the last ones
    events: tuple[str, ...] = ()  # the last lines


def path(folder: Path) -> Path:
    """Where a sweep's status lies."""
    return folder / FILE


def write(folder: Path, status: Status) -> None:
    """Puts a status in place whole; a reader sees this one or the one before.

    It is not synced to the disk: after a loss of power it may be empty, which `read` passes over.

    Raises:
        OSError: it cannot be written.
    """
    where = path(folder)
    aside = where.with_name(f".{FILE}.{os.getpid()}")
    try:
        aside.write_text(status.model_dump_json(), encoding="utf-8", errors="backslashreplace")
        aside.replace(where)
    except BaseException:
        with contextlib.suppress(OSError):  # the cause is the other one
            aside.unlink(missing_ok=True)
        raise


def read(folder: Path) -> Status | None:
    """What a driver last said; None where it said nothing, or nothing that can be read."""
    try:
        with path(folder).open("rb") as file:
            return parse(file.read(LARGEST + 1))
    except OSError:
        return None


def parse(data: bytes) -> Status | None:
    """A status from its bytes; None where they are none of this format."""
    if len(data) > LARGEST:
        return None
    try:
        return Status.model_validate(_plain(from_json(data)))
    except (ValidationError, ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    """Texts as plain lines: they are going to a terminal, and whoever may write to the folder may have written them."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


@lru_cache(maxsize=1)
def here() -> str:
    """Names this machine since it started, and the space that its process ids are of: a container has its own."""
    parts = [os.uname().nodename]
    with contextlib.suppress(OSError):  # not Linux
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "/".join(parts)


def now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)
