"""What a sweep says while it runs: plain lines, one per event, or a live view; and events.log, which has them all."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from robustray.plain import plain
from sweeps.events import (
    AttackDone,
    BudgetLeft,
    Concluded,
    Event,
    JobBegun,
    JobEnded,
    JobHeard,
    JudgingFailed,
    JudgingReached,
    JudgingResumed,
    JudgingSkipped,
    MembersFixed,
    Placed,
    PointEnded,
    Said,
    TrialEnded,
    TrialJudged,
    TrialPaused,
)
from sweeps.record import Members, Reached, Record, Skipped
from sweeps.record.constraints import by
from sweeps.record.lines import Sheet
from sweeps.running.nodes import (
    JobResumed,
    JobReturned,
    JobWaits,
    NodeAvoided,
    NodeFar,
    NodeJoined,
    NodeLeaves,
    NodeLost,
)
from sweeps.running.queues import End, Job, Result
from sweeps.space import Sweep
from sweeps.view.activity import Activity
from sweeps.view.points import made
from sweeps.view.pulse import Heard, Pulse
from sweeps.view.terminal import Screen, output_kept
from sweeps.view.watch import EVENTS, OUTPUT, Watch
from sweeps.view.words import accuracies, reason, short, trainings

Show = Literal["quiet", "plain", "verbose", "live"]
"""The outcome only; a line per event; a line per epoch and job as well; a view that is drawn over and over."""
QUIET_SECONDS = 15.0


class Console:
    """A listener that shows what happens, and writes it down."""

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
        self._log: Sheet | None = None
        self._watch: Watch | None = None
        self._pulse: Pulse | None = None
        self._budget = ""

    @contextlib.contextmanager
    def watching(self, sweep: Sweep, record: Record, *, noisy: bool, others: Sequence[Heard] = ()) -> Iterator[None]:
        """Writes events.log and status.json while the block runs, and shows the view where that is wanted; then restores the
        terminal.

        Args:
            noisy: other processes will print; what they say goes to output.log.
            others: are handed every status too.
        """
        write, kept_back = self._write, list[str]()
        watch = self._watch = Watch(sweep, record.folder, record.snapshot, self.activity, self._until)
        live = self._show == "live"
        try:
            with contextlib.ExitStack() as stack:
                self._log = Sheet(record.folder / EVENTS, say=self._show_line)
                if self._given is None and (live or noisy):
                    out = stack.enter_context(output_kept(record.folder / OUTPUT))
                    self.keeps_output = out is not None
                    if out is not None and live:
                        self._write = kept_back.append
                        stack.enter_context(Screen(out, watch.frame))
                    elif out is not None:
                        self._write = partial(print, file=out, flush=True)
                self._pulse = stack.enter_context(Pulse(watch, record.folder, others))
                yield
        finally:
            self._write, self._log, self._watch, self._pulse, self.keeps_output = write, None, None, None, False
            for line in kept_back:
                write(line)

    def _tell_busy(self) -> None:
        """Says how much of their time workers have worked, where any has."""
        slots = 1 if self._watch is None else self._watch.slots
        share = self.activity.busy(slots)
        if share is not None:
            self._say(f"workers were busy {share:.0%} of the time from the first start to the last end")

    def __call__(self, event: Event) -> None:
        """Something has happened."""
        if self._pulse is not None:
            self._pulse(event)
        if isinstance(event, JobEnded):
            began = self.activity.runs.get(event.job.name)
            self.activity(event)
            self._ended(event.job, event.end, None if began is None else began.since)
            return
        self.activity(event)
        match event:
            case Said(line, timed):
                (self._event if timed else self._say)(line)
            case Concluded(line):
                self._tell_busy()  # before the outcome, which is the last line
                self._keep(line)
                self._write(plain(line))
            case Placed():
                self._placed(event)
            case JobBegun(job):
                self._begun(job)
            case JobHeard(job, result):
                self._heard(job, result)
            case BudgetLeft(line):
                self._budget = line
                if self._watch is not None:
                    self._watch.budget = line
            case TrialEnded():
                self._trial(event)
            case TrialPaused():
                self._paused(event)
            case PointEnded():
                self._event(made(event))
            case AttackDone():
                self._sign_of_life(
                    f"judging {event.number:04d} on {event.split}: {event.standing} of {event.images} stand "
                    f"after {event.attack}"
                )
            case TrialJudged():
                self._judged(event)
            case JudgingSkipped(number, skipped):
                self._skipped(number, skipped)
            case JudgingReached(number, reached):
                self._reached(number, reached)
            case JudgingResumed(number):
                self._event(f"judging {number:04d} goes on: what was better than it no longer stands")
            case JudgingFailed(number, split, cause):
                self._event(f"judging {number:04d} on {split} failed ({cause})")
            case MembersFixed(members, settings):
                self._members(members, settings)
            case NodeAvoided(node, why):
                self._event(f"node {node.name} gets no work: it {why}")
            case NodeFar(node):
                self._event(f"node {node.name} does not see the results: its trials travel through Ray's object store")
            case NodeJoined(node, slots):
                self._slots(slots)
                self._event(f"node {node.name} joins: {slots} jobs at a time")
            case NodeLeaves(node, slots):
                self._slots(slots)
                self._event(f"node {node.name} is about to leave: its jobs go on elsewhere, {slots} at a time")
            case NodeLost():
                self._lost(event)
            case JobReturned(job, why):
                self._event(f"{job.name} goes back and waits for a place ({why})")
            case JobResumed(job):
                self._event(f"{job.name} goes on")
            case JobWaits():
                self._waits(event)

    # Lines.

    def _say(self, line: str) -> None:
        """A line as it is."""
        self._keep(line)
        self._show_line(line)

    def _event(self, line: str) -> None:
        """A line with the time of day."""
        self._keep(line)
        self._show_line(f"{datetime.now():%H:%M:%S}  {line}")

    def _detail(self, line: str) -> None:
        """A line for those who want to know all."""
        if self._show == "verbose":
            self._event(line)

    def _keep(self, line: str) -> None:
        now, line = datetime.now().astimezone(), plain(line)
        self.activity.line(f"{now:%H:%M:%S}  {line}")
        if self._log is not None:  # with the zone: lives of one sweep may be on machines with other clocks
            self._log.append(f"{now.isoformat(sep=' ', timespec='seconds')}  {line}\n")
        if self._watch is not None:
            self._watch.news()

    def _show_line(self, line: str) -> None:
        if self._show in ("plain", "verbose"):
            self._write(plain(line))
        self._last = time.monotonic()

    def _sign_of_life(self, line: str) -> None:
        """A line that is of no use later: shown when nothing else was for a while."""
        if time.monotonic() - self._last > QUIET_SECONDS:
            self._show_line(f"{datetime.now():%H:%M:%S}  {line}")

    # Jobs.

    def _placed(self, placed: Placed) -> None:
        if self._watch is not None:
            self._watch.where, self._watch.slots, self._watch.dashboard = (
                placed.described,
                placed.slots,
                placed.dashboard,
            )
            self._watch.placed()
        self._say(f"running {placed.described}" + (f", dashboard at {placed.dashboard}" if placed.dashboard else ""))

    def _begun(self, job: Job) -> None:
        if self._watch is not None:
            self._watch.news()  # it may be a new trial
        self._detail(f"{job.name} begins")

    def _heard(self, job: Job, result: Result) -> None:
        self._detail(f"{job.name} {_epoch(result)}")
        running = sorted(self.activity.runs.values(), key=lambda run: run.job.name)
        epochs = [f"{run.job.name} {_epoch(run.result)}" for run in running if "epoch" in run.result]
        self._sign_of_life("running: " + "; ".join(epochs))

    def _ended(self, job: Job, end: End, since: float | None) -> None:
        if "epoch" in end.result and "epochs" in end.result:
            self._detail(f"{job.name} {_epoch(end.result)}")
        took = "" if since is None else f" after {self.activity.clock() - since:.1f} s"
        self._detail(f"{job.name} ends{took}: {end.outcome}")

    def _slots(self, slots: int) -> None:
        if self._watch is not None:
            self._watch.slots = slots

    def _lost(self, event: NodeLost) -> None:
        if self._watch is not None:
            self._watch.slots, self._watch.lost = event.slots, self._watch.lost + 1
        self._event(f"node {event.node.name} is lost; {event.slots} jobs at a time on the others")

    def _waits(self, event: JobWaits) -> None:
        wanted = f"{event.cpus:g} CPUs" + (f" and {event.gpus:g} GPUs" if event.gpus else "")
        waited = f"has waited for a worker with {wanted} for {event.seconds:.0f} s"
        self._event(f"{event.job.name} {waited} and goes on waiting: {event.free}")

    # What is in the record.

    def _trial(self, event: TrialEnded) -> None:
        trial, why = event.trial, reason(event.trial)
        seconds = trial.metrics.get("cost_seconds")
        cost = f"  {seconds:.1f} s" if seconds is not None else ""
        so_far = (
            f"{event.done} of {event.wanted}"
            if event.spent is None
            else f"{trainings(event.spent, event.budget)} spent"
        )
        (self._detail if trial.outcome == "stopped" and event.spent is not None else self._event)(
            f"trial {trial.number:04d} {trial.outcome}{why}{accuracies(trial.metrics)}{cost}  [{short(trial.params)}]"
            f"  {so_far}" + (f"; {self._budget}" if self._budget else "")
        )

    def _paused(self, event: TrialPaused) -> None:
        number, rung = event.trial.number, event.rung
        where = (
            f"at epoch {rung.epoch} of {event.epochs}" if rung.look is None else f"after a look of {rung.epoch} epochs"
        )
        begun = f"  [{short(event.trial.params)}]" if len(event.trial.rungs) == 1 else ""
        self._event(f"trial {number:04d} paused {where}{accuracies(rung.metrics)}  {rung.seconds:.1f} s{begun}")

    def _judged(self, event: TrialJudged) -> None:
        number, split, judged = event.number, event.split, event.judged
        name = "AutoAttack" if judged.autoattack else judged.version
        where = "test" if split == "test" else "the selection set"
        self._event(
            f"judged {number:04d} on {judged.images} images of {where}: clean {judged.clean_accuracy:.1%}, "
            f"{name} {judged.robust_accuracy:.1%}  {judged.seconds:.1f} s"
            + (f", misses {by(event.missed)}" if event.missed and split != "test" else "")
        )

    def _reached(self, number: int, reached: Reached) -> None:
        flags = f", flagged {', '.join(reached.flags)}" if reached.flags else ""
        self._event(
            f"judging {number:04d} waits after {reached.after}: clean {reached.clean_correct / reached.images:.1%}, "
            f"at best {reached.bound / reached.images:.1%} robust{flags}"
        )

    def _skipped(self, number: int, skipped: Skipped) -> None:
        after = f"after {skipped.after}" if skipped.after else "before any attack"
        why = (
            f"misses {by(skipped.missed)}" if skipped.dominator is None else f"trial {skipped.dominator:04d} is better"
        )
        self._event(f"judging {number:04d} ends {after}: at best {skipped.bound / skipped.images:.1%} robust, {why}")

    def _members(self, members: Members, settings: int) -> None:
        listed = ", ".join(f"{n:04d}" for n in members.trials)
        opened = f"; reading test for {len(members.opened)}" if members.opened else ""
        alike = f" ({len(members.trials)} trials)" if len(members.trials) > settings else ""
        self._event(f"frontier of {settings}{alike} fixed: {listed}{opened}")


def _epoch(result: Mapping[str, Any]) -> str:
    shown = accuracies(result) or (f": loss {result['loss']:.4g}" if "loss" in result else "")
    return f"epoch {result.get('epoch', 0)}/{result.get('epochs', 0)}{shown}"
