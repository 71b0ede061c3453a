"""One search of `search_images.py`, ours or plain OptunaSearch, for a time of the processor; killed, it goes on."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustray.errors import Diverged
from robustray.measures.metrics import ACCURACIES
from sweeps import record
from sweeps.driver import drive
from sweeps.record import Record, provenance
from sweeps.record.ledger import FILE
from sweeps.record.ledger import read as ledger_in
from sweeps.record.lock import FolderLock
from sweeps.running.local import Local
from sweeps.running.queues import End, Job, Queue, Result, Signal, Verdict
from sweeps.search.sampling import suggest
from sweeps.space import Sweep
from sweeps.view.console import Console

SIDES = ("ours", "plain")


@dataclass(frozen=True)
class Finished:
    """A trial that was trained to its end.

    Attributes:
        seconds: of the processor that the search had spent until then. seen: its clean and robust validation accuracy.
    """

    folder: Path
    seconds: float
    seen: tuple[float, ...]
    params: Mapping[str, Any]


class _Clocked:
    """A queue whose jobs are told to have taken their seconds of the processor, which other processes do not lengthen."""

    def __init__(self, queue: Queue, before: Mapping[int, float]) -> None:
        self._queue, self._trained, self._begun = queue, dict(before), 0.0

    def next(self) -> Job | Signal:
        job = self._queue.next()
        self._begun = time.process_time()
        return job

    def report(self, job: Job, result: Result) -> Verdict:
        return self._queue.report(job, self._told(job, result))

    def finish(self, job: Job, end: End) -> None:
        result = self._told(job, end.result)
        self._trained[job.number] = float(result["cost_seconds"])
        self._queue.finish(job, replace(end, result=result, device_seconds=float(result["device_seconds"])))

    def _told(self, job: Job, result: Result) -> Result:
        spent = time.process_time() - self._begun
        return {**result, "device_seconds": spent, "cost_seconds": self._trained.get(job.number, 0.0) + spent}


class _OnProcessorTime(Local):
    """This process, on the processor's clock."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        known = ledger_in(folder)
        self._before = {} if known is None else {n: s for (kind, n), s in known.by_trial.items() if kind == "train"}

    def run(self, queue: Queue) -> bool:
        return super().run(_Clocked(queue, self._before))


def ours(sweep: Sweep, folder: Path, seconds: float) -> None:
    """Searches as `run_sweep.py` does with nothing said of how: the race, published settings first."""
    budget = sweep.budget.model_copy(update={"device_hours": seconds / 3600})
    sweep = provenance.settled(sweep.model_copy(update={"budget": budget}), folder, fresh=False)
    console = Console(None, "plain")
    with FolderLock(folder) as held:
        provenance.prepare(sweep, folder, fresh=False)
        with (
            Record(folder, sweep.objectives, constraints=sweep.constraints, held=held) as opened,
            console.watching(sweep, opened, noisy=False),
        ):
            drive(sweep, opened, lambda: _OnProcessorTime(folder), tell=console)


def finished_by_ours(folder: Path) -> list[Finished]:
    """All trials that ended whole, in order."""
    spent, found = 0.0, []
    trials = record.read(folder).trials
    for line in csv.DictReader((folder / FILE).read_text(encoding="utf-8").splitlines()):
        spent += float(line["device_seconds"])
        trial = trials[int(line["trial"])]
        if line["kind"] == "train" and line["outcome"] == "complete":
            seen = tuple(trial.metrics[name] for name in ACCURACIES)
            found.append(Finished(folder / "trials" / f"{trial.number:04d}", spent, seen, trial.params))
    return found


def plain(sweep: Sweep, folder: Path, seconds: float) -> None:
    """Searches with Ray Tune's OptunaSearch as it comes: TPE over both objectives, every trial in full, one after another.

    A trial begins while the mean of those before it can still be paid for, which is our own rule too. Trials that are there are
    told to the searcher again, which draws the same as before.
    """
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen: dict[str, Any] = {}

    def space(trial: optuna.Trial) -> dict[str, Any]:
        chosen.clear()
        chosen.update(sweep.ask(lambda parameter: suggest(trial, parameter)))
        return {"epochs": 0}  # what trials are trained with beside what is drawn: OptunaSearch wants something

    search = OptunaSearch(space=space, metric=list(ACCURACIES), mode=["max", "max"], seed=sweep.search.seed)
    spent, number = 0.0, 0
    while number == 0 or spent + spent / number <= seconds:
        search.suggest(str(number))
        own = folder / "trials" / f"{number:04d}"
        told = _trained(sweep, dict(chosen), own)
        spent += told["seconds"]
        values = {name: told[name] for name in ACCURACIES if name in told}
        search.on_trial_complete(str(number), values or None, error=not values)
        print(f"plain, seed {sweep.search.seed}: trial {number}, {spent:.0f} of {seconds:.0f} s, {values}", flush=True)
        number += 1


def _trained(sweep: Sweep, params: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Trains a setting, or reads what came of it before: parameters, seconds of the processor, and both accuracies unless it
    diverged.
    """
    from robustray.training import Trainer

    path = folder / "told.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    begun = time.process_time()
    report: dict[str, Any] = {}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(sweep.trial_config(params), folder, threads=1)
        while not trainer.done:
            report = dict(trainer.epoch())
    except Diverged:
        report = {}
    told = {"params": dict(params), "seconds": time.process_time() - begun}
    told |= {name: report[name] for name in ACCURACIES if report.get("outcome") == "complete"}
    path.write_text(json.dumps(told), encoding="utf-8")
    return told


def finished_by_plain(folder: Path) -> list[Finished]:
    """As `finished_by_ours`."""
    spent, found = 0.0, []
    for path in sorted(folder.glob("trials/*/told.json")):
        told = json.loads(path.read_text(encoding="utf-8"))
        spent += told["seconds"]
        if ACCURACIES[0] in told:
            found.append(Finished(path.parent, spent, tuple(told[name] for name in ACCURACIES), told["params"]))
    return found
