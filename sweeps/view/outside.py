"""A sweep as one sees it from outside: its driver's last word while it is at work, else what the record says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustray.errors import UserError
from robustray.plain import plain
from sweeps.record import JOURNAL, journal, liveness, provenance
from sweeps.record import status as statuses
from sweeps.record.liveness import Driver
from sweeps.record.status import Phase, Status
from sweeps.view.activity import Activity
from sweeps.view.status import EVENTS, status
from sweeps.view.watch import EVENTS as EVENTS_FILE
from sweeps.view.watch import Watch

_TAIL = 64 * 1024  # bytes of events.log, of which the last lines are shown


@dataclass(frozen=True)
class Seen:
    """A sweep and its driver."""

    status: Status
    driver: Driver
    note: str = ""  # what could not be read, and what is shown in its place

    def as_json(self) -> dict[str, Any]:
        """All of it as plain data."""
        driver = {"state": self.driver.state, "age": self.driver.age, "told": self.driver.told}
        return {**self.status.model_dump(mode="json"), "driver": driver, "note": self.note}


def look(folder: Path, *, wait: Callable[[float], None] = time.sleep) -> Seen:
    """Looks at a results folder, of a sweep that runs, has ended, or was killed. Takes no lock and writes nothing.

    Args:
        wait: for so many seconds, before a status that looks old is looked at again.

    Raises:
        UserError: there is no sweep, or neither its record nor a status can be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a sweep's own, RESULTS/NAME")
    said = statuses.read(folder)
    driver = liveness.driver(folder, said, wait=wait)
    if said is not None and driver.state in ("at work", "silent"):
        return Seen(statuses.read(folder) or said, driver)
    if said is None and not (folder / JOURNAL).exists():
        raise UserError(
            f"{folder}: no sweep here (neither {JOURNAL} nor {statuses.FILE}); name a sweep's own, RESULTS/NAME"
        )
    try:
        return Seen(_of_record(folder, said), driver)
    except UserError as error:
        if said is None:
            raise
        return Seen(said, driver, f"{error}; what its driver said last is shown")


def _of_record(folder: Path, said: Status | None) -> Status:
    """What the record says of a sweep that nobody works on, with what only its last driver knew."""
    snapshot = journal.read(folder)
    sweep = provenance.sweep_in(folder)
    watch = Watch(sweep, folder, lambda: snapshot, Activity())
    phase: Phase = "stopped" if said is None or said.phase == "at work" else said.phase
    found = status(watch.frame("over"), snapshot, phase)
    kept = (
        {}
        if said is None
        else said.model_dump(include={"at", "every", "host", "machine", "pid", "begun", "where", "slots"})
    )
    kept |= {} if said is None else {"error": said.error, "busy": said.busy, "elapsed": said.elapsed}
    return found.model_copy(
        update={
            "elapsed": 0.0,
            **kept,
            "left": None,
            "events": _events(folder / EVENTS_FILE),
        }
    )


def _events(path: Path) -> tuple[str, ...]:
    """The last lines of events.log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(plain(line) for line in lines[-EVENTS:])
