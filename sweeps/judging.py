"""Which trial to judge with which attack next, so that the frontier is exact and nothing else is paid for.

Stage 1, validation: the number of images not yet broken only falls, so every trial always has an upper bound. A trial whose
bounds are dominated by a finished trial needs no more judging: whatever its remaining attacks do, it is not on the
frontier. Stage 2: the members are fixed in the record. Stage 3: test images are read, once, for members only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import moocore
import numpy as np

from robustray.evaluation.plan import SHARD, Plan
from robustray.verdicts import CLEAN, read_shard
from sweeps.progress import Console
from sweeps.queues import DONE, WAIT, Job, Result, Signal, Verdict
from sweeps.record import Judged, Record, Skipped, TrialRecord
from sweeps.space import Sweep

_JUDGED = ("clean_accuracy", "robust_accuracy")
Split = Literal["validation", "test"]


@dataclass
class Judgement:
    """How far one trial's judgement on one split has come."""

    trial: TrialRecord
    plan: Plan
    folder: Path
    broken: dict[tuple[str, int], int] = field(default_factory=dict)  # by (attack, shard), where run
    seconds: float = 0.0
    in_flight: set[int] = field(default_factory=set)  # shards an attack is running on
    doomed: bool = False  # dominated while an attack was running: nothing more is handed out

    def __post_init__(self) -> None:
        for shard in range(self.plan.shards):
            standing = self.plan.shard(shard).astype(np.int32)
            for attack in self.attacks:
                done = read_shard(self.folder, attack, shard)
                if done is None or not np.array_equal(done.image, standing):
                    break  # what came after it stands on nothing, and is run again
                standing = done.survivors
                self.broken[attack, shard] = int(done.broken.sum())
                self.seconds += float(done.info["seconds"])

    @property
    def attacks(self) -> tuple[str, ...]:
        return (CLEAN, *self.plan.attacks)

    @property
    def images(self) -> int:
        return len(self.plan.rows)

    @property
    def clean_bound(self) -> int:
        """Images that are or may be classified correctly."""
        return self.images - sum(count for (attack, _), count in self.broken.items() if attack == CLEAN)

    @property
    def robust_bound(self) -> int:
        """Images that no attack has broken so far."""
        return self.images - sum(self.broken.values())

    @property
    def finished(self) -> bool:
        return len(self.broken) == len(self.attacks) * self.plan.shards

    @property
    def last_attack(self) -> str:
        """The last attack that was run on every shard; "" where none was."""
        whole = [a for a in self.attacks if all((a, s) in self.broken for s in range(self.plan.shards))]
        return whole[-1] if whole else ""

    def ready(self) -> tuple[str, int] | None:
        """The next (attack, shard) to run: the earliest attack first."""
        for attack in self.attacks:
            for shard in range(self.plan.shards):
                if (attack, shard) not in self.broken and shard not in self.in_flight:
                    before = self.attacks[: self.attacks.index(attack)]
                    if all((earlier, shard) in self.broken for earlier in before):
                        return attack, shard
        return None

    def values(self) -> dict[str, float]:
        """Accuracies if nothing more is broken: exact where finished, bounds otherwise."""
        return {
            "clean_accuracy": self.clean_bound / self.images,
            "robust_accuracy": self.robust_bound / self.images,
        }


class Judging:
    """The queue of judge shards."""

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        console: Console,
        *,
        threads: int,
        session: str,
        training: Callable[[], bool],
    ) -> None:
        """Reads the record.

        Args:
            session: names this life of the driver. Judgements that failed in another one are tried again.
            training: whether a trial is still in training, and may yet complete.
        """
        self.sweep = sweep
        self.record = record
        self.console = console
        self.threads = threads
        self.training = training
        self.shard_size = int(record.setting("shard_size", SHARD))
        snapshot = record.snapshot()
        self.session = session
        self.closed: set[tuple[int, Split]] = {(number, "validation") for number in snapshot.skipped}
        self.open: dict[tuple[int, Split], Judgement] = {}
        self.finished: dict[int, dict[str, float]] = {}  # objective values of trials judged in full on validation
        self.on_test = {number for number, split in snapshot.judged if split == "test"}
        self._known: set[int] = set()
        self._judged = {n: j for (n, split), j in snapshot.judged.items() if split == "validation"}
        self._members: Sequence[int] | None = None

    def next(self) -> Job | Signal:
        if self.sweep.judge.trials == "none":
            return DONE
        self._admit()
        self._prune()
        for judgement in self._order():
            ready = None if judgement.doomed else judgement.ready()
            if ready is not None:
                return self._job(judgement, *ready)
        if self.open or self.training():
            return WAIT
        if self._members is None:
            self._members = self._fix_members()
            return self.next()
        return DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        work = job.work
        key = (job.number, work["split"])
        judgement = self.open.get(key)
        if judgement is None:
            return  # given up while this shard was running
        judgement.in_flight.discard(work["shard"])
        if outcome != "complete":
            self.closed.add(key)
            del self.open[key]
            reason = f"{work['attack']}: {result.get('cause') or cause or outcome}"
            self.record.give_up_judging(job.number, work["split"], reason)
            self.console.event(f"judging {job.number:04d} on {work['split']} failed ({reason})")
            return
        judgement.broken[work["attack"], work["shard"]] = int(result["broken"])
        judgement.seconds += float(result["seconds"])
        self.console.judging(job.number, work["split"], work["attack"], judgement.robust_bound, judgement.images)
        if judgement.finished:
            self._close(key, judgement)

    def _close(self, key: tuple[int, Split], judgement: Judgement) -> None:
        number, split = key
        del self.open[key]
        judged = Judged(
            images=judgement.images,
            clean_correct=judgement.clean_bound,
            robust=judgement.robust_bound,
            version=judgement.plan.version,
            autoattack=self.sweep.judge.autoattack,
            folder=str(judgement.folder.relative_to(self.record.folder)),
            seconds=judgement.seconds,
        )
        self.record.judge(number, split, judged)
        self.console.judged(number, split, judged)
        if split == "test":
            self.on_test.add(number)
        else:
            self.finished[number] = self._objectives(judgement.trial, judgement.values())

    def _admit(self) -> None:
        """Takes in trials that have completed since the last look."""
        for trial in self.record.trials():
            eligible = trial.outcome == "complete" and (trial.feasible or self.sweep.judge.trials == "all")
            if not eligible or trial.number in self._known:
                continue
            self._known.add(trial.number)
            judged = self._judged.get(trial.number)
            if judged is not None:
                values = {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
                self.finished[trial.number] = self._objectives(trial, values)
            elif (trial.number, "validation") not in self.closed:
                self._open(trial, "validation")

    def _open(self, trial: TrialRecord, split: Split) -> None:
        plan = Plan.of(self.sweep.judge, str(trial.weights), split, shard_size=self.shard_size)
        judgement = Judgement(trial, plan, plan.folder(self.record.judgements(trial.number)))
        self.open[trial.number, split] = judgement
        if judgement.finished:  # its last shard was written, but the record never heard of it
            self._close((trial.number, split), judgement)

    def _objectives(self, trial: TrialRecord, judged: Mapping[str, float]) -> dict[str, float]:
        """Values of the sweep's objectives: accuracies as judged, all else as told."""
        return {name: judged[name] if name in _JUDGED else trial.metrics[name] for name in self.sweep.objectives}

    def _prune(self) -> None:
        if self.sweep.judge.trials != "frontier":
            return
        for key, judgement in list(self.open.items()):
            if key[1] == "test" or (judgement.doomed and judgement.in_flight):
                continue
            bounds = self._objectives(judgement.trial, judgement.values())
            better = [n for n, values in self.finished.items() if dominates(values, bounds, self.sweep.objectives)]
            judgement.doomed = bool(better)
            if better and not judgement.in_flight:
                skipped = Skipped(
                    dominator=min(better),
                    after=judgement.last_attack,
                    bound=judgement.robust_bound,
                    images=judgement.images,
                    clean_correct=judgement.clean_bound,
                )
                self.record.skip(key[0], skipped)
                self.console.skipped(key[0], skipped)
                self.closed.add(key)
                del self.open[key]

    def _order(self) -> list[Judgement]:
        """Whom to judge first: those most likely on the frontier, for they are paid for anyway and prune the rest.

        The guess is the lower of the cheap attack's accuracy and the bound so far. It orders the work, no more.
        """
        waiting = list(self.open.values())
        if not waiting:
            return []
        guesses = []
        for judgement in waiting:
            bounds = judgement.values()
            guess = {name: min(bounds[name], judgement.trial.metrics.get(name, 1.0)) for name in _JUDGED}
            guesses.append(self._objectives(judgement.trial, guess))
        rivals = [*guesses, *self.finished.values()]
        ranks = moocore.pareto_rank(_minimised(rivals, self.sweep.objectives))[: len(waiting)]
        key = [(rank, -len(j.broken), j.trial.number) for rank, j in zip(ranks.tolist(), waiting, strict=True)]
        return [judgement for _, judgement in sorted(zip(key, waiting, strict=True), key=lambda pair: pair[0])]

    def _job(self, judgement: Judgement, attack: str, shard: int) -> Job:
        judgement.in_flight.add(shard)
        number = judgement.trial.number
        work = {
            "kind": "judge",
            "folder": str(self.record.trial_folder(number)),
            "judgements": str(self.record.judgements(number)),
            "split": judgement.plan.split,
            "attack": attack,
            "shard": shard,
            "shard_size": self.shard_size,
            "weights": judgement.trial.weights,
            "threads": self.threads,
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
        }
        return Job(f"judge {number:04d} {judgement.plan.split} {attack} {shard}", number, work)

    def _fix_members(self) -> Sequence[int]:
        """Stage 2: the frontier goes into the record; stage 3 is opened for the members not tested before."""
        trials = {trial.number: trial for trial in self.record.trials()}
        eligible = {n: values for n, values in self.finished.items() if trials[n].feasible}
        members = sorted(non_dominated(eligible, self.sweep.objectives))
        unread = [n for n in members if n not in self.on_test]
        events = self.record.snapshot().members
        if not events or events[-1].trials != members:
            self.console.members(self.record.fix_members(members, unread))
        for number in unread:
            if (number, "test") not in self.closed:
                self._open(trials[number], "test")
        return members


def dominates(a: Mapping[str, float], b: Mapping[str, float], objectives: Mapping[str, str]) -> bool:
    """Whether a is at least as good as b in every objective and better in one. Equals do not dominate each other."""
    signs = {name: 1 if mode == "max" else -1 for name, mode in objectives.items()}
    gains = [signs[name] * (a[name] - b[name]) for name in objectives]
    return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def non_dominated(points: Mapping[int, Mapping[str, float]], objectives: Mapping[str, str]) -> list[int]:
    """Keys of the points that no other point dominates; of equal points all stay."""
    if not points:
        return []
    keep = moocore.is_nondominated(_minimised(list(points.values()), objectives), keep_weakly=True)
    return [number for number, kept in zip(points, keep.tolist(), strict=True) if kept]


def _minimised(points: Sequence[Mapping[str, float]], objectives: Mapping[str, str]) -> np.ndarray[Any, Any]:
    return np.array([[-p[n] if mode == "max" else p[n] for n, mode in objectives.items()] for p in points], dtype=float)
