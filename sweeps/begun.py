"""What a folder holds of a sweep already, for a dry run: refused as the sweep itself would be, and never written."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeps import driver
from sweeps.record import Record, journal, ledger, lives, provenance, shared
from sweeps.record.journal import JOURNAL
from sweeps.search.controller import Controller
from sweeps.search.stopping import policy
from sweeps.space import Sweep


@dataclass(frozen=True)
class Begun:
    """How far a sweep is; as it stands, where nothing was done."""

    left: float  # trials to do, or whole trainings' worth of epochs
    done: int = 0  # trials that have ended
    waiting: int = 0  # paused ones
    wall: float = 0.0  # seconds at work
    device: float = 0.0  # device-seconds


def check(sweep: Sweep, folder: Path) -> bool:
    """Whether a folder holds this sweep's record.

    Raises:
        UserError: it holds another sweep, or something else, in the words of `provenance.prepare`.
    """
    shared.demand(folder)
    provenance.known(sweep, folder)
    if not (folder / JOURNAL).exists():
        return False
    provenance.check_trained(sweep, folder, journal.read(folder).trials)
    return True


@contextmanager
def controlled(sweep: Sweep, folder: Path | None) -> Iterator[tuple[Controller, Begun]]:
    """What would hand out the trials, on a copy of a folder's record that is thrown away; on an empty one without a folder."""
    with tempfile.TemporaryDirectory() as copy:
        if folder is not None:
            shutil.copyfile(folder / JOURNAL, Path(copy) / JOURNAL)
        with Record(Path(copy), sweep.objectives) as record:
            controller = Controller(sweep, record, policy(sweep), lambda event: None, session="dry run")
            yield controller, _begun(sweep, record, controller, folder)


def _begun(sweep: Sweep, record: Record, controller: Controller, folder: Path | None) -> Begun:
    if folder is None:
        return Begun(sweep.wanted)
    left: float
    if controller.pausing is None:
        left = max(0, sweep.wanted - controller.study.sampled) + len(controller.unfinished)
    else:
        left = max(0.0, sweep.wanted - float(controller.pausing.progress.spent))
    waiting = 0 if controller.pausing is None else len(controller.pausing.paused)
    spent = ledger.read(folder)
    device = 0.0 if spent is None else spent.total
    return Begun(left, driver.done_before(record), waiting, lives.read(folder), device)
