"""Training one trial."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from robustray.errors import Diverged, Paused
from sweeps.running.tasks import base, compiler
from sweeps.running.tasks.base import PAUSED, Living, Report, deaths, failure, with_measures
from sweeps.running.tasks.log_file import logging_to

if TYPE_CHECKING:
    from robustray.training import Trainer
    from robustray.training.processes import Crew
    from robustray.training.script import ScriptTrainer
    from robustray.trial import TrialConfig

log = logging.getLogger("robustray")


class TrainTask(Living):
    """Trains one trial, an epoch a step: to its end, or to the epoch that its work names with `until`, a rung.

    An epoch that is not finite is trained once more from the last checkpoint: where a device or a disk was at fault for a
    moment, the trial goes on as it would have, and where the trial is, it diverges again.

    Where several processes share the work, this one starts the others, and keeps them for the next trial of as many.
    """

    _crew: ClassVar[Crew | None] = None

    def __init__(self, work: Mapping[str, Any]) -> None:
        super().__init__()
        self.work = work
        self.folder = Path(work["folder"])
        self.trainer: Trainer | ScriptTrainer | None = None
        self._interrupted = False
        self._begun = 0  # whole epochs that were trained before the one at work
        self._tried_again: int | None = None  # the same, of the epoch that was trained once more

    def step(self) -> Report:
        try:
            with logging_to(self.folder / "log.txt"):
                try:
                    return self._step()
                except Diverged as error:
                    if not self._again(error):
                        raise
                    return self._step()
        except Paused:
            raise
        except Exception as error:
            return failure(error, self.folder / "log.txt", self.trainer.completed if self.trainer else 0)

    def _step(self) -> Report:
        if self._interrupted:  # what the step before this one did is on disk
            if self.trainer is not None:
                self.trainer.halt()
            raise Paused
        if self.trainer is None:
            died = self._count_attempt()
            if died > self.work["max_failures"]:
                cause = f"its process died {died} times in a row without writing a checkpoint"
                log.error(cause)
                return {"outcome": "failed", "cause": cause, "done": True, "epoch": 0, "training_iteration": 0}
            self.watch.again(died)
            self.trainer = self._open()
            if self.trainer.report is not None:  # said before, but it may never have arrived
                return self._told(self.trainer.report)
        self._begun = self.trainer.completed
        return self._told(self.trainer.epoch())

    def _again(self, error: Diverged) -> bool:
        """Goes back to the last checkpoint, where the epoch that failed has not been tried again before. A script's own reasons
        are taken as they are.
        """
        from robustray.training import Trainer

        if not isinstance(self.trainer, Trainer) or self._begun == self._tried_again:
            return False
        self._tried_again = self._begun
        log.warning("%s; once more from the last checkpoint", error)
        self.trainer = None  # before the next one takes as much memory
        self.trainer = self._open()
        return True

    def _told(self, report: Report) -> Report:
        """A last report with the measures of the space that are taken of every trial; one at the rung that the job goes to with
        what the weights are worth there.
        """
        if report.get("outcome") == "complete":
            return with_measures(report, self.folder, self.work, self._heed)
        until = self.work.get("until")
        if until is None or report["done"] or report["epoch"] < until:
            return report
        trainer = cast("Trainer", self.trainer)  # scripts are not sent to rungs
        return {**report, **trainer.standing(), "outcome": PAUSED, "done": True}

    def loosen(self, silent: float) -> bool:
        crew = type(self)._crew
        if crew is None or self.work.get("processes", 1) == 1:
            return False
        crew.give_up(silent)
        return True

    def _heed(self, _: object) -> None:
        self.watch.beat()
        if self._interrupted:
            raise Paused

    def _open(self) -> Trainer | ScriptTrainer:
        from robustray.training import Trainer
        from robustray.training.script import ScriptTrainer
        from robustray.trial import TrialConfig

        config = TrialConfig.recorded((self.folder / "trial.yaml").read_text(encoding="utf-8"), self.folder)
        threads = base.settle(self.work).threads
        if config.compile != "off":
            compiler.settle(self.folder, threads)
        kind = Trainer if config.script is None else ScriptTrainer
        trainer = self._together(config, threads) or kind(config, self.folder, threads=threads)
        if isinstance(trainer, Trainer):
            trainer.alive = self.watch.beat
        else:  # what it does between two reports, nobody knows
            self.watch.rest()
        if self._interrupted:
            trainer.stop.set()
        log.info("at %s", trainer.place)
        return trainer

    def _together(self, config: TrialConfig, threads: int) -> Trainer | None:
        """The trainer of a trial that several processes train; None for one that this process trains alone."""
        from robustray.training.processes import Crew

        size, crew, kind = self.work.get("processes", 1), type(self)._crew, type(self)
        if crew is not None and not (crew.fit and (crew.size, crew.threads) == (size, threads)):
            crew.end()
            kind._crew = crew = None
        if size == 1:
            return None
        if crew is None:
            kind._crew = crew = Crew(size, device="cuda" if self.work["gpus"] else "cpu", threads=threads)
        return crew.open(config, self.folder)

    def _count_attempt(self) -> int:
        kept = [path for name in ("last.pt", "script/state.pt") if (path := self.folder / name).exists()]
        written = max((path.stat().st_mtime_ns for path in kept), default=0)
        session = self.work["session"]
        if until := self.work.get("until"):  # an attempt that ended at a rung is no death on the way to the next
            session = f"{session} to {until}"
        died = deaths(self.folder / "attempts.json", session, written)
        self.counted()
        return died

    def interrupt(self) -> bool:
        self._interrupted = True
        if self.trainer is not None:
            self.trainer.stop.set()
        return True
