"""What every job at work has: reports, its share of the machine, and the ways it may end.

Expected ends are results, not exceptions: a diverged trial, a full device, a bug in a plug-in. Only a broken process
raises, so that whoever runs it replaces the process.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from robustray.disks import disk_trouble, is_full, trouble_behind
from robustray.errors import Diverged, Paused, ProcessLost, UserError
from robustray.files import json_mapping, write_whole
from robustray.plain import discreet
from sweeps.running.packing import Share
from sweeps.running.tasks.log_file import logging_to
from sweeps.running.watch import Watch

log = logging.getLogger("robustray")
BLOCKED = "blocked"
"""The outcome of a job that is stopped by what the user can mend: the sweep stops, and the job stays unfinished."""
FULL = "full"
"""In the report of a blocked job: whether it is a disk without room that blocks it."""
PAUSED = "paused"
"""The outcome of a training job that came to the rung it was sent to: the trial may go on, in another job."""
Report = dict[str, Any]


class Task(Protocol):
    """A job at work."""

    def step(self) -> Report:
        """Works until there is something to report. `done: True` marks the last report, which carries an `outcome`."""
        ...

    def interrupt(self) -> bool:
        """Asks a running step to stop soon, keeping what it did; False where it cannot be asked."""
        ...


class Living:
    """A task that gives signs of life, where `lives` says that it does so again and again."""

    lives = True

    def __init__(self) -> None:
        self.watch = Watch(None, lambda silent: None)
        self.counted: Callable[[], None] = lambda: None
        """Called when an attempt is counted, and before it may end: elsewhere the count has to be known too."""

    def loosen(self, silent: float) -> bool:
        """Called in another thread where it gave no sign for so many seconds: ends other processes that its step may wait for.

        Returns:
            Whether there were any; the step is then given a moment to end with ProcessLost by itself.
        """
        return False


class OneStep(Living, ABC):
    """A job of a trial that is done in one step. Interrupted, what it had not written down is given up, and begins anew.

    What the user can mend (a checkpoint that is gone, a measure that does not fit) fails this job alone: no reason to
    stop the others.
    """

    lives = False

    def __init__(self, work: Mapping[str, Any]) -> None:
        super().__init__()
        self.work = work
        self.folder = Path(work["folder"])
        self.stop = threading.Event()

    @abstractmethod
    def found(self) -> Report:
        """Does the work, and says what it found."""

    def step(self) -> Report:
        try:
            return complete(**self.found())
        except Paused:
            raise
        except UserError as error:
            return gone(self.folder, error, 1) or failed(str(error))
        except Exception as error:
            return failure(error, self.folder / "log.txt", 1)

    def heed(self, *_: object) -> None:
        """What is called again and again while it works: raises Paused once it is interrupted."""
        self.watch.beat()
        if self.stop.is_set():
            raise Paused

    def interrupt(self) -> bool:
        self.stop.set()
        return True

    def count(self, path: Path) -> None:
        """Counts at `path` that the work begins.

        Raises:
            UserError: its process died there more often than the sweep has patience for.
        """
        died = deaths(path, self.work["session"], 0)
        self.counted()
        if died > self.work["max_failures"]:
            raise UserError(f"its process died {died} times in a row")
        self.watch.again(died)


def complete(**found: Any) -> Report:
    """The only report of a job that did what it was to do."""
    return {"outcome": "complete", "done": True, "training_iteration": 1, **found}


def failed(cause: str) -> Report:
    """The only report of a job that could not be done."""
    return {"outcome": "failed", "cause": cause, "done": True, "training_iteration": 1}


def blocked(cause: str, epoch: int = 0, *, full: bool = False) -> Report:
    """The only report of a job that is to be done again once the user has mended what stood in its way."""
    told = {"outcome": BLOCKED, "cause": cause, "done": True, "epoch": epoch, "training_iteration": epoch}
    return {**told, FULL: True} if full else told


def gone(folder: Path, error: Exception | None = None, epoch: int = 0) -> Report | None:
    """The report of a job whose storage failed; None where it is there, and no error tells otherwise.

    What fails for want of a file is no fault of the trial's while its folder is not there: a network file system came loose.

    Args:
        folder: the job's. error: what the job ended with.
    """
    home = folder.parents[1] if len(folder.parents) > 1 else folder  # the sweep's, or what is above that
    behind = None if error is None else trouble_behind(error)
    if behind is None and isinstance(error, OSError) and disk_trouble(error, home) is not None:
        behind = error
    if behind is not None:
        return blocked(f"{folder}: {disk_trouble(behind, home)}", epoch, full=is_full(behind))
    if not os.path.isdir(folder):  # noqa: PTH112  Path.is_dir raises what FUSE says of a disk that is gone
        return blocked(f"{folder} is not there: the disk went away; see to it and run the same command again", epoch)
    return None


def failure(error: Exception, log_file: Path, epoch: int) -> Report:
    """The last report of a job that ended in an exception; re-raised where the process itself is broken."""
    import torch

    from robustray.training.script import ScriptFailed

    broken = getattr(torch, "AcceleratorError", None)
    if isinstance(error, torch.cuda.OutOfMemoryError):
        outcome = "out_of_memory"
        torch.cuda.empty_cache()
    elif (lost := gone(log_file.parent, error, epoch)) is not None:
        return lost
    elif isinstance(error, UserError):
        return blocked(str(error), epoch)
    elif isinstance(error, ProcessLost):
        with logging_to(log_file):
            log.error("%s", error)
        raise error
    elif (broken is not None and isinstance(error, broken)) or "CUDA error" in str(error):
        raise error
    else:
        outcome = "diverged" if isinstance(error, Diverged) else "failed"
    with logging_to(log_file):
        log.error("%s\n%s", outcome, "".join(traceback.format_exception(error)))
    lines = str(error).strip().splitlines() or [""]
    cause = lines[0] if isinstance(error, Diverged | ScriptFailed) else f"{type(error).__name__}: {lines[0]}"
    return {"outcome": outcome, "cause": discreet(cause), "done": True, "epoch": epoch, "training_iteration": epoch}


def deaths(path: Path, session: str, place: int) -> int:
    """How often this life of the driver has begun at this very place before: each time, a process died there.

    Args:
        path: where it is counted. session: names the life of the driver. place: changes with every progress.
    """
    here = {"session": session, "place": place}
    try:
        last = json_mapping(path)
    except (OSError, ValueError):
        last = {}
    before = last.get("deaths")
    count: int = before + 1 if last.get("here") == here and isinstance(before, int) else 0
    path.parent.mkdir(exist_ok=True)  # and none above it: where those are gone, so is the storage
    write_whole(path, json.dumps({"here": here, "deaths": count}))
    return count


def settle(work: Mapping[str, Any]) -> Share:
    """Keeps this process to its job's share of the machine, whatever the job before has left behind."""
    import torch

    share = Share(work["cpus"], work["gpus"], processes=work.get("processes", 1))
    torch.set_num_threads(share.threads)
    torch.set_grad_enabled(True)  # a job that hung and was interrupted may have left it off, half-way into a context
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share.memory)
    return share


def with_measures(found: Report, folder: Path, work: Mapping[str, Any], heed: Callable[[float], None]) -> Report:
    """What a trial that completed reports, with the space's measures of all."""
    asked = work.get("measures")
    if not asked:
        return found
    from sweeps.running import measured

    return {**found, **measured.as_training_ends(folder, asked, work["measured_images"], heed)}
