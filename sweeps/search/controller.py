"""The sweep's mind: what to try, what to stop, when training is over. A deterministic function of the record."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from robustray.errors import UserError
from robustray.files import write_whole
from robustray.trial import TrialConfig
from sweeps.events import Event, JudgingReached, JudgingResumed, JudgingSkipped, Listener, Said, TrialEnded, TrialJudged
from sweeps.record import Issued, Outcome, Record
from sweeps.record.constraints import violations
from sweeps.record.points import derived
from sweeps.running.queues import DONE, End, Job, Result, Signal, Verdict
from sweeps.search import replicating, sampling
from sweeps.search.settings import Settings
from sweeps.search.stopping import StoppingRule
from sweeps.search.study import DRAWN, Asked, Study
from sweeps.space import Sweep

INFEASIBLE = "options"
"""The constraint that a draw misses of which no trial can be built."""


class Controller:
    """Hands out trials and takes in what they report. Knows nothing of where they run.

    Trials that the record has as unfinished come first, with the same options: that is all there is to resuming.
    """

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        stopping: StoppingRule,
        tell: Listener,
        *,
        session: str,
        spent: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Reads the record.

        Args:
            stopping: decides after each report.
            tell: is told of every trial that ends.
            session: names this life of the driver; attempts of others do not count.
            spent: which budget has ended the search, in words; asked before anything new is begun.
        """
        self.sweep = sweep
        self.record = record
        self.stopping = stopping
        self.tell = tell
        self.session = session
        self.spent = spent
        self.study = Study(sweep, record)
        self.unfinished = deque(
            trial.number for trial in record.trials() if trial.outcome is None and trial.origin != "derived"
        )
        self.running: set[int] = set()
        self._of_all = self.sweep.asked_of_all()
        self.settings = Settings(sweep, record)
        self.replicates = replicating.wanted(sweep, record)
        self._said = False  # that all settings were tried
        self._budget_said = False

    def next(self) -> Job | Signal:
        while True:
            left = self.study.sampled < self.sweep.trials and (bool(self.unfinished) or not self._over())
            number = self.unfinished.popleft() if self.unfinished else self.draw() if left else None
            if number is None:
                return DONE
            try:
                return self._job(number)
            except UserError as error:  # what validation did not see: it costs this draw, and not the sweep
                self._cannot_be_built(number, str(error))

    def _over(self) -> bool:
        """Whether a budget has ended the search; said once."""
        line = self.spent()
        if line is not None and not self._budget_said:
            self._budget_said = True
            self.tell(Said(f"no more trials: {line}", timed=True))
        return line is not None

    def report(self, job: Job, result: Result) -> Verdict:
        return self.stopping(job.number, result)

    def finish(self, job: Job, end: End) -> None:
        self.running.discard(job.number)
        known: Outcome = end.outcome if end.outcome in get_args(Outcome) else "failed"  # type: ignore[assignment]
        cause, metrics = end.cause, _finite(end.result, self.sweep.metrics)
        missing = [name for name in self.sweep.objectives if name not in metrics]
        if known == "complete" and missing:
            why = f": {cause}" if cause else ""
            known, cause = "failed", f"reported no finite {' and no '.join(missing)}{why}"
        self.record.finish(
            job.number,
            known,
            metrics=metrics,
            cause=cause,
            epoch=int(end.result.get("epoch", 0)),
            weights=end.result.get("weights"),
            exact=bool(end.result.get("exact", True)),
            violations=violations(metrics, self.sweep.constraints) if known == "complete" else None,
        )
        self.study.learn(job.number)
        self._told(job.number)

    def heard(self, event: Event) -> None:
        """What the judging finds out is what samplers learn from."""
        match event:
            case (
                TrialJudged(number, "validation")
                | JudgingSkipped(number)
                | JudgingReached(number)
                | JudgingResumed(number)
            ):
                self.study.learn(number)

    def draw(self) -> int | None:
        """Asks for one more trial, writes it to the record, and gives its number; None where no setting is left."""
        first = self._near_frontier()
        asked = self._new(self.study.sampled) if first is None else None
        if asked is not None:
            return self._issue(Issued(asked.params), asked)
        if first is None and self.sweep.search.duplicates == "replicate":
            first = self.settings.fewest()
        if first is not None:
            asked = self.study.ask(sampling.Fixed(self.record.trial(first).params))
            seed = self.settings.replicate_seed(first)
            return self._issue(Issued(asked.params, seed=seed, origin="replicate", parents=(first,)), asked)
        if not self._said:
            self._said = True
            asked_for = f"though {self.sweep.trials} were asked for"
            self.tell(Said(f"all {len(self.settings)} settings tried: no more trials, {asked_for}"))
        return None

    def _near_frontier(self) -> int | None:
        """The setting that is to be trained with another seed, where it is a replicate's turn."""
        spent, seed = self.study.sampled, replicating.draw_seed(self.sweep, self.study.sampled)
        if not self.replicates or spent < self.sweep.trials * replicating.BEGIN:
            return None
        snapshot = self.record.snapshot()
        return replicating.next_replicate(snapshot, self.replicates, spent=spent, budget=self.sweep.trials, seed=seed)

    def _new(self, number: int) -> Asked | None:
        """A setting that was not tried, None where there is none: nothing is learnt of one that is trained again as it was."""
        search = self.sweep.search
        if self.settings.exhausted:
            return None
        if search.sampler == "grid":
            following = self.settings.next_of_grid()
            return None if following is None else self.study.ask(sampling.Fixed(following))
        for sampler in sampling.samplers(self.sweep, number, self.settings.chances):
            asked = self.study.ask(sampler)
            if self.settings.tried(asked.params) is None:
                return asked
        left = self.settings.untried(number)
        return None if left is None else self.study.ask(sampling.Fixed(left))

    def _issue(self, issued: Issued, asked: Asked) -> int:
        attrs = {**asked.system_attrs, **({DRAWN: True} if issued.origin == "replicate" else {})}
        number = self.record.issue(issued, asked.distributions, attrs)
        self.study.issued(self.record.trial(number), asked.distributions, attrs)
        return number

    def _cannot_be_built(self, number: int, why: str) -> None:
        self.record.finish(number, "failed", metrics={}, cause=f"infeasible: {why}", violations={INFEASIBLE: 1.0})
        self.study.learn(number)
        self._told(number)

    def _told(self, number: int) -> None:
        ended = sum(not derived(self.record.trial(each)) for each in self.record.ended())  # points are counted apart
        self.tell(TrialEnded(self.record.trial(number), ended, self.sweep.wanted))

    def _job(self, number: int) -> Job:
        trial = self.record.trial(number)
        config = self.sweep.trial_config(trial.params)
        if trial.seed is not None:
            config = config.model_copy(update={"seed": trial.seed})
        folder = self.record.trial_folder(number)
        _describe(folder, config)
        self.running.add(number)
        work = {
            "kind": "train",
            "folder": str(folder),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
            **self._of_all,
        }
        return Job(f"trial {number:04d}", number, work)


def _describe(folder: Path, trial: TrialConfig) -> None:
    """Puts trial.yaml into a trial's folder, unless it says the same already, and the plugins that it names."""
    folder.mkdir(parents=True, exist_ok=True)
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
