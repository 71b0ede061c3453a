"""A job on a node that does not see the results: its files come with it, and what it changes goes back before it reports.

The job itself knows nothing of it: it works in a folder of the worker's own that is shaped like the sweep's. Knows no Ray.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from robustray.disks import disk_trouble, is_full
from robustray.errors import Paused
from sweeps.running import parcels
from sweeps.running.courier import Handed, Trouble
from sweeps.running.scratch import Scratch
from sweeps.running.tasks.base import BLOCKED, FULL, Report, Task, blocked
from sweeps.running.watch import ALIVE, GONE, told, trace
from sweeps.storage.pack import Pack, Unfit, packed, unpack
from sweeps.storage.sets import Moved, Stamp

Open = Callable[[Mapping[str, Any], Callable[[float], None], Callable[[], None]], Task]
"""Opens a task: from its work, what to do when it hangs, and what to do once its attempt is counted."""


class Wire(Protocol):
    """The way to the courier, `sweeps.running.courier.Courier`."""

    def fetch(self, name: str, token: str, work: Mapping[str, Any], has: Mapping[str, Stamp]) -> Handed | Trouble: ...

    def store(self, name: str, token: str, work: Mapping[str, Any], pack: Pack) -> dict[str, Stamp] | Trouble: ...

    def word(
        self, name: str, token: str, node: str, work: Mapping[str, Any], alive: str | None
    ) -> tuple[bool, bool]: ...

    def rest(self, name: str, token: str, work: Mapping[str, Any]) -> None: ...

    def hung(self, name: str, token: str, work: Mapping[str, Any], told: str) -> None: ...


class Unable(BaseException):
    """This node cannot do the job: why, in words, with the remedy. No Exception: nothing that a job raises is taken for it."""


class Refused(BaseException):
    """What was to be handed back is not taken; no Exception either, since it may come up within the job."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.cause)
        self.trouble = trouble


class Far:
    """A task of which the files are elsewhere.

    A checkpoint is handed back with the report of its epoch, also where a job stops because it is asked to. What is lost with a
    worker is what it had not reported, as where it shares the folder.
    """

    def __init__(
        self, name: str, work: Mapping[str, Any], home: Path, wire: Wire, scratch: Scratch, open_task: Open
    ) -> None:
        """Touches nothing, here or there.

        Args:
            name: the job's. work: as the driver gives it. home: the results folder, as the driver sees it.
        """
        self.name, self.work, self.token = name, work, uuid.uuid4().hex
        self.home, self._wire, self._scratch, self._open = home, wire, scratch, open_task
        self._task: Task | None = None
        self._interrupted = False
        here = {key: str(scratch.folder / Path(work[key]).relative_to(home)) for key in parcels.PATHS if key in work}
        self.here: Mapping[str, Any] = {**work, **here}

    def step(self) -> Report:
        """A step of the job, whose changes are with the driver afterwards.

        Raises:
            Unable: of this node. Whatever the job raises.
        """
        if self._task is None:
            trouble = self._fetch()
            if trouble is not None:
                return self._blocked(trouble, 0)
            self._task = self._open(self.here, self._leave, self.hand_back)
        if self._interrupted:
            self._task.interrupt()
        try:
            report = self._task.step()
        except Refused as refused:
            return self._blocked(refused.trouble, 0)
        except Paused:
            try:
                self.hand_back()
            except Refused as refused:
                return self._blocked(refused.trouble, 0)
            raise
        except Exception:  # the process is broken, and has told its log
            with contextlib.suppress(Exception, Refused, Unable):
                self.hand_back()
            raise
        self._see_to_room(report)
        try:
            self.hand_back()
        except Refused as refused:
            return self._blocked(refused.trouble, report["training_iteration"])
        if report["done"]:
            self._wire.rest(self.name, self.token, self.work)
        there, here = str(self.home), str(self._scratch.folder)
        return {key: value.replace(here, there) if isinstance(value, str) else value for key, value in report.items()}

    def interrupt(self) -> bool:
        self._interrupted = True
        return self._task.interrupt() if self._task is not None else True

    def heard(self, node: str) -> tuple[bool, bool]:
        """Whether all workers are asked to stop, and whether those of this node are. Says that this process is not frozen."""
        alive = None
        with contextlib.suppress(OSError):
            alive = (Path(self.here["folder"]) / ALIVE).read_text(encoding="ascii")
        return self._wire.word(self.name, self.token, node, self.work, alive)

    def hand_back(self) -> None:
        """Hands back what has changed since it last did.

        Raises:
            Refused: it is not taken, or is too much to be sent. Unable: it cannot be read here.
        """
        scratch = self._scratch
        sets = parcels.writes(self.work, self.home)
        try:
            pack, mine = packed(scratch.folder, sets, scratch.mine, theirs=scratch.theirs)
        except OSError as error:
            raise Unable(f"cannot read {scratch.folder}: {disk_trouble(error) or error.strerror}") from error
        except Unfit as error:
            raise Refused(Trouble(str(error))) from error
        except Moved as error:
            raise Refused(Trouble(f"{scratch.folder / str(error)}: kept changing while it was read")) from error
        renewed = {os.path.dirname(item.name) for item in pack.items}  # noqa: PTH120
        pack = pack._replace(gone=tuple(name for name in pack.gone if os.path.dirname(name) in renewed))  # noqa: PTH120
        if not pack:
            return
        theirs = self._wire.store(self.name, self.token, self.work, pack)
        if isinstance(theirs, Trouble):
            raise Refused(theirs)
        scratch.forget([*mine, *pack.gone, *(move.name for move in pack.moves if move.name not in mine)])
        scratch.same(mine, theirs)

    def _fetch(self) -> Trouble | None:
        scratch = self._scratch
        handed = self._wire.fetch(self.name, self.token, self.work, scratch.has())
        if isinstance(handed, Trouble):
            return handed
        for path in handed.besides:
            if not Path(path).exists():
                raise Unable(f"lacks {path}, which {self.name} is made of; put it there too")
        try:
            scratch.keep((*handed.sets, *parcels.writes(self.work, self.home)))
            mine = unpack(handed.pack, scratch.folder, handed.sets)
        except OSError as error:
            raise Unable(self._no_room(error)) from error
        except Unfit as error:
            return Trouble(str(error))
        scratch.forget([*mine, *handed.pack.gone])
        scratch.same(mine, handed.stamps)
        Path(self.here["folder"]).mkdir(parents=True, exist_ok=True)
        return None

    def _no_room(self, error: OSError) -> str:
        what = "has no room left" if is_full(error) else f"cannot write ({error.strerror})"
        return f"{what} in {self._scratch.folder.parents[1]}; free some there, or start Ray there with another TMPDIR"

    def _see_to_room(self, report: Report) -> None:
        """What blocks a job is this node's own disk: the results are elsewhere."""
        if report.get("outcome") != BLOCKED:
            return
        if report.get(FULL):
            raise Unable(self._no_room(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
        if not Path(self.here["folder"]).is_dir():
            raise Unable(f"lost {self._scratch.folder}: somebody removes temporary files there")

    def _blocked(self, trouble: Trouble, done: int) -> Report:
        return {**blocked(trouble.cause, done, full=trouble.full), "device_seconds": 0.0}

    def _leave(self, silent: float) -> None:
        """For a job that hangs: the log gets a trace of where it stood, the driver hears of it, and this process ends."""
        trace(Path(self.here["folder"]), silent)
        with contextlib.suppress(Exception, Refused, Unable):
            self._wire.hung(self.name, self.token, self.work, told(silent))
            self.hand_back()
        os._exit(GONE)
