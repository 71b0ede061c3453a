"""The sweep's mind: what to try, what to stop, when training is over. A deterministic function of the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, get_args

from robustray.files import write_whole
from sweeps.record import Outcome, Record
from sweeps.running.queues import DONE, Job, Result, Signal, Verdict
from sweeps.search import sampling
from sweeps.space import Sweep
from sweeps.view.console import Console

StoppingRule = Callable[[int, Result], Verdict]
_COSTS = ("cost_seconds", "cost_device_hours", "cost_passes")


class Controller:
    """Hands out trials and takes in what they report. Knows nothing of where they run.

    Trials that the record has as unfinished come first, with the same options: that is all there is to resuming.
    """

    def __init__(self, sweep: Sweep, record: Record, stopping: StoppingRule, console: Console, *, session: str) -> None:
        """Reads the record.

        Args:
            stopping: decides after each report.
            session: names this life of the driver; attempts of others do not count.
        """
        self.sweep = sweep
        self.record = record
        self.stopping = stopping
        self.console = console
        self.session = session
        self.unfinished = [trial.number for trial in record.trials() if trial.outcome is None]
        self.running: set[int] = set()

    def next(self) -> Job | Signal:
        if self.unfinished:
            return self._job(self.unfinished.pop(0))
        if len(self.record.trials()) < self.sweep.search.trials:
            return self._job(sampling.ask(self.sweep, self.record))
        return DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return self.stopping(job.number, result)

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        self.running.discard(job.number)
        cause = result.get("cause") or cause  # a cause of its own, before that of an earlier death of its process
        known: Outcome = outcome if outcome in get_args(Outcome) else "failed"  # type: ignore[assignment]
        metrics = _finite(result)
        missing = [name for name in self.sweep.objectives if name not in metrics]
        if known == "complete" and missing:
            known, cause = "failed", f"reported no finite {' and no '.join(missing)}"
        self.record.finish(
            job.number,
            known,
            metrics=metrics,
            cause=cause,
            epoch=int(result.get("epoch", 0)),
            weights=result.get("weights"),
            exact=bool(result.get("exact", True)),
            violations=self._violations(metrics) if known == "complete" else None,
        )
        done = sum(trial.outcome is not None for trial in self.record.trials())
        self.console.trial(self.record.trial(job.number), done, self.sweep.search.trials)

    def _job(self, number: int) -> Job:
        folder = self.record.trial_folder(number)
        config = self.sweep.trial_config(self.record.trial(number).params)
        folder.mkdir(parents=True, exist_ok=True)
        described = config.to_yaml()
        path = folder / "trial.yaml"
        if not path.exists() or path.read_text() != described:
            write_whole(path, described)
        self.running.add(number)
        work = {
            "kind": "train",
            "folder": str(folder),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
        }
        return Job(f"trial {number:04d}", number, work)

    def _violations(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """By constraint, how far it is missed; zero or less where it holds."""
        missed = {}
        for name, bound in self.sweep.constraints.items():
            value = metrics.get(name, math.inf if bound.max is not None else -math.inf)
            over = value - bound.max if bound.max is not None else -math.inf
            under = bound.min - value if bound.min is not None else -math.inf
            missed[name] = max(over, under)
        return missed


def _finite(result: Mapping[str, Any]) -> dict[str, float]:
    names = ("clean_accuracy", "robust_accuracy", *_COSTS)
    values = {name: result[name] for name in names if name in result}
    return {
        name: float(value) for name, value in values.items() if isinstance(value, int | float) and math.isfinite(value)
    }
