"""The sweep's mind: what to try, what to stop, when training is over. A deterministic function of the record."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.trial import TrialConfig
from sweeps.events import (
    Event,
    JudgingReached,
    JudgingResumed,
    JudgingSkipped,
    Listener,
    Said,
    TrialEnded,
    TrialJudged,
    TrialPaused,
)
from sweeps.record import Issued, Outcome, Record, last_lines
from sweeps.record.constraints import violations
from sweeps.record.facts import BAD_ENDS
from sweeps.record.points import derived
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.running.tasks.base import PAUSED
from sweeps.search import replicating, sampling, states
from sweeps.search.field import Policy
from sweeps.search.first import First
from sweeps.search.pausing import Pausing
from sweeps.search.replicates import Replicates
from sweeps.search.settings import Settings
from sweeps.search.study import DRAWN, Asked, Study
from sweeps.search.taking_up import GIVEN_UP, Waiting, take_back
from sweeps.space import Sweep

INFEASIBLE = "options"
"""The constraint that a draw misses of which no trial can be built."""
SPENT = "the budget was spent"
"""How the cause begins of a trial that waited then; `GIVEN_UP` is the other one."""


class Controller:
    """Hands out trials and takes in what they report. Knows nothing of where they run.

    Trials that the record has as unfinished come first, with the same options: that is all there is to resuming. Where a policy
    pauses trials, those that were at work come first, and it is asked what is to be done after that.
    """

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        policy: Policy | None,
        tell: Listener,
        *,
        session: str,
        spent: Callable[[], str | None] = lambda: None,
        left: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Reads the record.

        Args:
            policy: decides who is paused and who goes on; without one every trial runs to its end.
            tell: is told of every trial that ends.
            session: names this life of the driver; attempts of others do not count.
            spent: which budget has ended the search, in words; asked before anything new is begun.
            left: device-seconds that training may still take, for a policy.
        """
        self.sweep = sweep
        self.record = record
        self.taken_back = Waiting() if policy is None else take_back(sweep, record, self._kept)
        """What a larger budget found of trials that a spent one had stopped."""
        self.pausing = None if policy is None else Pausing(sweep, record, policy, left)
        self.tell = tell
        self.session = session
        self.spent = spent
        self.study = Study(sweep, record)
        self.unfinished = deque(
            trial.number for trial in record.trials() if trial.state == "running" and trial.origin != "derived"
        )
        self.running: set[int] = set()
        self._drop_again()
        self._of_all = self.sweep.asked_of_all()
        self.settings = Settings(sweep, record)
        self.first = First(sweep, record)
        self.replicates = Replicates(record, replicating.wanted(sweep, record))
        self._said = False  # that all settings were tried
        self._budget_said = False

    def _drop_again(self) -> None:
        """What an earlier life was killed before it had deleted."""
        if self.sweep.stopping.keep_paused is not None:
            for trial in self.record.trials():
                if trial.outcome == "stopped" and (trial.cause or "").startswith(GIVEN_UP):
                    states.drop(self.record.trial_folder(trial.number))
        if self.sweep.fidelity is not None:
            for trial in self.record.trials():
                if trial.looked and not trial.looking:
                    states.drop(self._look_folder(trial.number))

    def next(self) -> Job | Signal:
        while True:
            found = self.unfinished.popleft() if self.unfinished else self._following()
            if isinstance(found, Signal):
                return found
            try:
                return self._job(found)
            except UserError as error:  # what validation did not see: it costs this draw, and not the sweep
                self._cannot_be_built(found, str(error))

    def _following(self) -> int | Signal:
        """The trial to begin or to go on with; a signal where there is none."""
        if self.pausing is None:
            left = self.study.sampled < self.sweep.trials and not self._over()
            number = self.draw() if left else None
            return DONE if number is None else number
        for number in self.pausing.given_up():
            self._stop(number, f"{GIVEN_UP}, and {self.sweep.stopping.keep_paused} may wait")
        at_work = bool(self.running)
        if self._over():
            found: int | Signal = WAIT if at_work else DONE
        else:
            found = self.pausing.choose(self.draw, self._again, at_work=at_work)
        if found is DONE and (paused := self.pausing.paused):
            self.tell(Said(f"the budget is spent: {len(paused)} paused trials are stopped", timed=True))
            places = self.pausing.places()
            for number in paused:
                why = f": {places[number]}" if number in places else ""
                self._stop(number, f"{SPENT} while it waited{why}")
        return found

    def _over(self) -> bool:
        """Whether a budget has ended the search; said once."""
        line = self.spent()
        if line is not None and not self._budget_said:
            self._budget_said = True
            self.tell(Said(f"no more trials: {line}", timed=True))
        return line is not None

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        self.running.discard(job.number)
        known: Outcome = end.outcome if end.outcome in get_args(Outcome) else "failed"  # type: ignore[assignment]
        cause, metrics = end.cause, _finite(end.result, self.sweep.metrics)
        missing = [name for name in self.sweep.objectives if name not in metrics]
        looking = self.pausing is not None and self.pausing.looking(job.number)
        if (end.outcome == PAUSED or (looking and known == "complete")) and not missing:
            self._arrived(job.number, end, metrics)
            if looking:  # what is trained begins anew: nobody goes on from there
                states.drop(self._look_folder(job.number))
            return
        if (known == "complete" or end.outcome == PAUSED) and missing:
            why = f": {cause}" if cause else ""
            known, cause = "failed", f"reported no finite {' and no '.join(missing)}{why}"
        if looking:
            cause = f"in the look at it: {cause or known}"
        self.record.finish(
            job.number,
            known,
            metrics=metrics,
            cause=cause,
            epoch=0 if looking else int(end.result.get("epoch", 0)),
            weights=end.result.get("weights"),
            exact=bool(end.result.get("exact", True)),
            violations=violations(metrics, self.sweep.constraints) if known == "complete" else None,
            last_rung=self.pausing.last if known == "complete" and self.pausing is not None else None,
            last=last_lines.of_log(self.record.trial_folder(job.number) / "log.txt") if known in BAD_ENDS else (),
        )
        self._told(job.number)

    def _arrived(self, number: int, end: End, metrics: Mapping[str, float]) -> None:
        """A trial is at its rung: it waits there, until it is gone on with or stopped."""
        assert self.pausing is not None
        epoch, seconds = int(end.result["epoch"]), float(end.result.get("cost_seconds", 0.0))
        rung = self.pausing.arrived(number, epoch=epoch, metrics=metrics, seconds=seconds)
        self.tell(TrialPaused(self.record.trial(number), rung, self.pausing.progress.epochs(number)))

    def _stop(self, number: int, why: str) -> None:
        """A paused trial will not go on: it has what its training measured last, and is no member."""
        trial = self.record.trial(number)
        rung = trial.rungs[-1]
        metrics = {} if trial.looked_only else rung.metrics  # no training of it was measured
        self.record.finish(number, "stopped", metrics=metrics, cause=why, epoch=rung.come)
        if why.startswith(GIVEN_UP) and self.sweep.stopping.keep_paused is not None:
            states.drop(self.record.trial_folder(number))
        self._told(number)

    def heard(self, event: Event) -> None:
        """What the judging finds out is what samplers learn from."""
        match event:
            case (
                TrialJudged(number, "validation")
                | JudgingSkipped(number)
                | JudgingReached(number)
                | JudgingResumed(number)
            ):
                self._learn(number)
            case TrialJudged(number, _):  # flags that show on test are no news for samplers
                self.replicates.look(number)

    def draw(self, params: Mapping[str, object] | None = None) -> int | None:
        """Asks for one more trial, writes it to the record, and gives its number; None where no setting is left.

        Args:
            params: of a policy's choosing; the sampler's where there are none, or where they were tried.
        """
        if self.pausing is None and (again := self._again()) is not None:
            return again
        asked = self._new(self.study.sampled, params)
        if asked is not None:
            return self._issue(Issued(asked.params), asked)
        first = self.settings.fewest() if self.sweep.search.duplicates == "replicate" else None
        if first is not None:
            return self._replicate(first)
        if not self._said:
            self._said = True
            asked_for = f"though {self.sweep.trials} were asked for"
            self.tell(Said(f"all {len(self.settings)} settings tried: no more trials, {asked_for}"))
        return None

    def _again(self) -> int | None:
        """Begins a setting near the frontier with another seed, where it is a replicate's turn: its number."""
        sampled, budget = self.study.sampled, self.sweep.trials
        spent = float(sampled if self.pausing is None else self.pausing.progress.spent)
        if not self.replicates.wanted or spent < budget * replicating.BEGIN:
            return None
        seed = replicating.draw_seed(self.sweep, sampled)
        first = self.replicates.next(spent=spent, budget=budget, seed=seed)
        return None if first is None else self._replicate(first)

    def _replicate(self, first: int) -> int | None:
        """Trains the setting of a trial with another seed: the number of the new one. None where there is no other seed."""
        asked = self.study.again(self.record.trial(first).params)
        seed = self.settings.replicate_seed(first)
        return self._issue(Issued(asked.params, seed=seed, origin="replicate", parents=(first,)), asked)

    def _new(self, number: int, params: Mapping[str, object] | None) -> Asked | None:
        """A setting that was not tried, None where there is none: nothing is learnt of one that is trained again as it was."""
        search = self.sweep.search
        if self.settings.exhausted:
            return None
        for wanted in (
            self.first.point(number),
            params,
        ):  # a policy that begins a trial begins what is to be tried first
            if wanted is not None and self.settings.tried(wanted) is None:
                return self.study.ask(sampling.Fixed(wanted))
        if search.sampler == "grid":
            following = self.settings.next_of_grid()
            return None if following is None else self.study.ask(sampling.Fixed(following))
        before = self.first.samplers(number, self.study.learnt)
        for sampler in chain(before, sampling.samplers(self.sweep, number, self.settings.chances)):
            asked = self.study.ask(sampler)
            if self.settings.tried(asked.params) is None:
                return asked
        left = self.settings.untried(number)
        return None if left is None else self.study.ask(sampling.Fixed(left))

    def _issue(self, issued: Issued, asked: Asked) -> int:
        attrs = {**asked.system_attrs, **({DRAWN: True} if issued.origin == "replicate" else {})}
        number = self.record.issue(issued, asked.distributions, attrs)
        self.study.issued(self.record.trial(number), asked.distributions, attrs)
        self.replicates.look(number)
        if self.pausing is not None:
            self.pausing.look(number)
        return number

    def _cannot_be_built(self, number: int, why: str) -> None:
        self.record.finish(number, "failed", metrics={}, cause=f"infeasible: {why}", violations={INFEASIBLE: 1.0})
        self._told(number)

    def _learn(self, number: int) -> None:
        self.study.learn(number)
        self.replicates.look(number)
        if self.pausing is not None:
            self.pausing.look(number)

    def _told(self, number: int) -> None:
        self._learn(number)
        ended = sum(not derived(self.record.trial(each)) for each in self.record.ended())  # points are counted apart
        spent = None if self.pausing is None else float(self.pausing.progress.spent)
        self.tell(TrialEnded(self.record.trial(number), ended, self.sweep.wanted, spent, self.sweep.trials))

    def _job(self, number: int) -> Job:
        trial = self.record.trial(number)
        config = self.sweep.trial_config(trial.params)
        if trial.seed is not None:
            config = config.model_copy(update={"seed": trial.seed})
        folder = self.record.trial_folder(number)
        _describe(folder, config)
        self.running.add(number)
        work: dict[str, Any] = {
            "kind": "train",
            "folder": str(folder),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
        }
        if self.pausing is not None and (until := self.pausing.send(number)) is not None:
            work["until"] = until
        if self.pausing is not None and self.pausing.looking(number):
            looks, folder = self.pausing.progress.looks, self._look_folder(number)
            assert looks is not None
            _describe(folder, looks.config(config))
            return Job(f"trial {number:04d}", number, {**work, "folder": str(folder), "look": True})
        return Job(f"trial {number:04d}", number, {**work, **self._of_all})

    def _kept(self, number: int) -> bool:
        """Whether a trial that was stopped has a state to go on from."""
        return states.kept(self.record.trial_folder(number))

    def _look_folder(self, number: int) -> Path:
        """Where the look at a trial is taken."""
        return self.record.trial_folder(number) / "look"


def _describe(folder: Path, trial: TrialConfig) -> None:
    """Puts trial.yaml into a trial's folder, unless it says the same already, and the plugins that it names."""
    folder.mkdir(exist_ok=True)  # and none above it: where those are gone, so is the storage
    trial.keep(folder)
    path, text = folder / "trial.yaml", trial.to_yaml()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def _finite(result: Mapping[str, Any], metrics: Iterable[str]) -> dict[str, float]:
    """The metrics of a report that are numbers."""
    values = {name: result[name] for name in metrics if name in result}
    return {
        name: float(value) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
    }
