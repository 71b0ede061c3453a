"""What a sweep says while it runs: plain lines, one per event, or a live view; and events.log, which has them all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Literal, TextIO

from sweeps.record import Judged, Members, Record, Skipped, TrialRecord
from sweeps.running.queues import Job, Queue, Result, Signal, Verdict
from sweeps.space import Sweep
from sweeps.view.activity import Activity, Standing
from sweeps.view.terminal import Screen, output_kept
from sweeps.view.watch import EVENTS, OUTPUT, Watch
from sweeps.view.words import short

Show = Literal["quiet", "plain", "verbose", "live"]
"""The outcome only; a line per event; a line per epoch and job as well; a view that is drawn over and over."""
QUIET_SECONDS = 15.0


class Console:
    """Where events go. Controller and judging tell what has ended, `Watched` which jobs come and go."""

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        show: Show = "plain",
        *,
        until: Callable[[], float] | None = None,
    ) -> None:
        """What is shown, and where.

        Args:
            write: takes the lines; None for standard output, which alone can be a live view.
            until: seconds until a deadline, where there is one.
        """
        self.activity = Activity()
        self.keeps_output = False
        """Whether what libraries, Ray and its workers print goes to output.log."""
        self._given = write
        self._write = write or partial(print, flush=True)
        self._show: Show = "plain" if write is not None and show == "live" else show
        self._until = until
        self._last = time.monotonic()
        self._log: TextIO | None = None
        self._watch: Watch | None = None

    @contextlib.contextmanager
    def watching(self, sweep: Sweep, record: Record, *, noisy: bool) -> Iterator[None]:
        """Writes events.log while the block runs, and shows the view where that is wanted; then restores the terminal.

        Args:
            noisy: other processes will print; what they say goes to output.log.
        """
        write, kept_back = self._write, list[str]()
        watch = self._watch = Watch(sweep, record.folder, record.snapshot, self.activity, self._until)
        live = self._show == "live"
        try:
            with contextlib.ExitStack() as stack:
                self._log = stack.enter_context((record.folder / EVENTS).open("a", buffering=1, encoding="utf-8"))
                if self._given is None and (live or noisy):
                    out = stack.enter_context(output_kept(record.folder / OUTPUT))
                    self.keeps_output = out is not None
                    if out is not None and live:
                        self._write = kept_back.append
                        stack.enter_context(Screen(out, watch.frame))
                    elif out is not None:
                        self._write = partial(print, file=out, flush=True)
                yield
        finally:
            self._write, self._log, self._watch, self.keeps_output = write, None, None, False
            for line in kept_back:
                write(line)

    def placed(self, described: str, slots: int, dashboard: str | None) -> None:
        """It is known where jobs run."""
        if self._watch is not None:
            self._watch.where, self._watch.slots, self._watch.dashboard = described, slots, dashboard
        self.say(f"running {described}" + (f", dashboard at {dashboard}" if dashboard else ""))

    # Lines.

    def outcome(self, line: str) -> None:
        """How the sweep ended: said in any case, after the view where there is one."""
        self._keep(line)
        self._write(line)

    def say(self, line: str) -> None:
        """A line as it is."""
        self._keep(line)
        self._show_line(line)

    def event(self, line: str) -> None:
        """A line with the time of day."""
        self._keep(line)
        self._show_line(f"{datetime.now():%H:%M:%S}  {line}")

    def detail(self, line: str) -> None:
        """A line for those who want to know all."""
        if self._show == "verbose":
            self.event(line)

    def _keep(self, line: str) -> None:
        now = datetime.now()
        self.activity.event(f"{now:%H:%M:%S}  {line}")
        if self._log is not None:
            self._log.write(f"{now:%Y-%m-%d %H:%M:%S}  {line}\n")
        if self._watch is not None:
            self._watch.news()

    def _show_line(self, line: str) -> None:
        if self._show in ("plain", "verbose"):
            self._write(line)
        self._last = time.monotonic()

    def _sign_of_life(self, line: str) -> None:
        """A line that is of no use later: said when nothing else was said for a while."""
        if time.monotonic() - self._last > QUIET_SECONDS:
            self._show_line(f"{datetime.now():%H:%M:%S}  {line}")

    # Jobs.

    def begun(self, job: Job) -> None:
        """A job was handed out."""
        self.activity.begun(job)
        if self._watch is not None:
            self._watch.news()  # it may be a new trial
        self.detail(f"{job.name} begins")

    def heard(self, job: Job, result: Result) -> None:
        """A job has told how far it is."""
        self.activity.heard(job, result)
        self.detail(f"{job.name} {_epoch(result)}")
        running = sorted(self.activity.runs.values(), key=lambda run: run.job.name)
        told = [f"{run.job.name} {_epoch(run.result)}" for run in running if "epoch" in run.result]
        self._sign_of_life("running: " + "; ".join(told))

    def ended(self, job: Job, outcome: str, result: Result) -> None:
        """A job has ended."""
        run = self.activity.runs.get(job.name)
        self.activity.ended(job, result)
        if "epoch" in result and "epochs" in result:
            self.detail(f"{job.name} {_epoch(result)}")
        took = "" if run is None else f" after {self.activity.clock() - run.since:.1f} s"
        self.detail(f"{job.name} ends{took}: {outcome}")

    # What the record was told.

    def trial(self, trial: TrialRecord, done: int, wanted: int) -> None:
        """A trial has ended."""
        why = f" ({trial.cause})" if trial.cause else "" if trial.feasible else " (outside the constraints)"
        seconds = trial.metrics.get("cost_seconds")
        cost = f"  {seconds:.1f} s" if seconds is not None else ""
        self.event(
            f"trial {trial.number:04d} {trial.outcome}{why}{_accuracies(trial.metrics)}{cost}  [{short(trial.params)}]"
            f"  {done} of {wanted}"
        )

    def judging(self, number: int, split: str, attack: str, standing: int, images: int) -> None:
        """How far a judgement is."""
        self.activity.stands(number, split, Standing(attack, standing, images))
        self._sign_of_life(f"judging {number:04d} on {split}: {standing} of {images} stand after {attack}")

    def judged(self, number: int, split: str, judged: Judged) -> None:
        """A trial has been judged in full."""
        name = "AutoAttack" if judged.autoattack else judged.version
        where = "test" if split == "test" else "selection set"
        self.event(
            f"judged {number:04d} on {judged.images} images of the {where}: clean {judged.clean_accuracy:.1%}, "
            f"{name} {judged.robust_accuracy:.1%}  {judged.seconds:.1f} s"
        )

    def skipped(self, number: int, skipped: Skipped) -> None:
        """A trial needs no further judging."""
        after = f"after {skipped.after}" if skipped.after else "before any attack"
        self.event(
            f"judging {number:04d} ends {after}: at best {skipped.bound / skipped.images:.1%} robust, "
            f"trial {skipped.dominator:04d} is better"
        )

    def members(self, event: Members) -> None:
        """The frontier is fixed."""
        listed = ", ".join(f"{n:04d}" for n in event.trials)
        opened = f"; reading test for {len(event.opened)}" if event.opened else ""
        self.event(f"frontier of {len(event.trials)} fixed: {listed}{opened}")


class Watched:
    """A queue whose jobs a console is told of."""

    def __init__(self, queue: Queue, console: Console) -> None:
        """Looks at `queue`."""
        self._queue = queue
        self._console = console

    def next(self) -> Job | Signal:
        job = self._queue.next()
        if isinstance(job, Job):
            self._console.begun(job)
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        self._console.heard(job, result)
        return self._queue.report(job, result)

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        self._console.ended(job, outcome, result)
        self._queue.finish(job, outcome, result, cause)


def _epoch(result: Mapping[str, Any]) -> str:
    shown = _accuracies(result) or (f": loss {result['loss']:.4g}" if "loss" in result else "")
    return f"epoch {result.get('epoch', 0)}/{result.get('epochs', 0)}{shown}"


def _accuracies(values: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {values[key]:.1%}"
        for name, key in (("clean", "clean_accuracy"), ("robust", "robust_accuracy"))
        if key in values
    ]
    return ": " + ", ".join(shown) if shown else ""
