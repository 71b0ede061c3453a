"""Which trial to judge with which attack next, so that the frontier is exact and nothing else is paid for.

Stage 1, validation: the number of images not yet broken only falls, so every setting always has an upper bound. A setting
whose bound is dominated by one that is judged in full needs no more judging: whatever its remaining attacks do, it is not
on the frontier. Stage 2: the members are fixed in the record. Stage 3: test images are read, once, for members only.

A setting is a trial, or all trials with the same options and different seeds: it stands where the mean over them stands.
A flagged or randomised model is judged in full, and neither prunes nor is pruned nor is a member. A skip holds as long as
the setting that proved it stands: if that is flagged later, or a replicate moves its mean, the skip is withdrawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from robustray.judge import Judge
from robustray.judging.plan import SHARD, Plan
from sweeps.frontier import Values, dominates, mean, non_dominated, ranks
from sweeps.judging.judgement import Judgement
from sweeps.record import Judged, Record, Skipped, TrialRecord
from sweeps.running.queues import DONE, WAIT, Job, Result, Signal, Verdict
from sweeps.space import Sweep
from sweeps.view.console import Console

_JUDGED = ("clean_accuracy", "robust_accuracy")
_PROBE = "probe"
_TIER = 2  # attacks that come before the expensive ones
Split = Literal["validation", "test"]
Key = tuple[int, Split]


class Judging:
    """The queue of judge shards."""

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        console: Console,
        *,
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
        self.session = session
        self.training = training
        snapshot = record.snapshot()
        self.shard_size: int | None = snapshot.settings.get("shard_size")
        self.probing = False
        self.open: dict[Key, Judgement] = {}
        self.failed: set[Key] = set()  # in this life
        self.exact: dict[int, Values] = {}  # objectives of trials judged in full on validation
        self.skipped: dict[int, Values] = {}  # bounds of those that need no more judging
        self.flagged: dict[int, set[str]] = {}
        self.on_test = {number for number, split in snapshot.judged if split == "test"}
        self.trials: dict[int, TrialRecord] = {}  # complete ones that take part
        self.settings: dict[int, list[int]] = {}  # by the first of its trials
        self._judged = {n: j for (n, split), j in snapshot.judged.items() if split == "validation"}
        self._skips = dict(snapshot.skipped)
        self._members: Sequence[int] | None = None
        self._news = True  # something has happened since the last pruning
        for (number, _), judged in snapshot.judged.items():
            if judged.flags:
                self.flagged.setdefault(number, set()).update(judged.flags)

    # What backends ask and tell.

    def next(self) -> Job | Signal:
        if self.sweep.judge.trials == "none":
            return DONE
        self._admit()
        if self.shard_size is None and self.trials:
            return self._probe()
        if self.sweep.judge.trials == "frontier" and self._news:
            self._news = False  # before: withdrawing a skip is news again
            self._prune()
        for judgement, stage, shard in self._order():
            return self._job(judgement, stage, shard)
        if self.open or self.training():
            return WAIT
        if self._members is None:
            self._members = self._fix_members()
            return self.next()
        return DONE

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, outcome: str, result: Result, cause: str | None) -> None:
        self._news = True
        work = job.work
        if work["kind"] == _PROBE:
            self.probing = False
            found = int(result["shard_size"]) if outcome == "complete" else SHARD
            self.shard_size = int(self.record.setting("shard_size", found))
            return
        key: Key = (job.number, work["split"])
        judgement = self.open.get(key)
        if judgement is None or judgement.plan.version != work["as"]:
            return  # given up, or judged otherwise, while this shard was running
        judgement.in_flight.discard(work["shard"])
        if outcome != "complete":
            self._fail(key, f"{work['attack']}: {result.get('cause') or cause or outcome}")
            return
        judgement.take(work["attack"], work["shard"], result)
        self.console.judging(job.number, work["split"], work["attack"], judgement.robust_bound, judgement.images)
        if "randomised" in judgement.flags and judgement.plan.strength != "rand":
            self._start(key, judgement.trial, randomised=True)
        elif judgement.finished:
            self._close(key, judgement)

    # Judgements begin and end.

    def _admit(self) -> None:
        """Takes in trials that have completed since the last look."""
        for trial in self.record.trials():
            if trial.number in self.trials or trial.outcome != "complete":
                continue
            if not (trial.feasible or self.sweep.judge.trials == "all"):
                continue
            if self.shard_size is None:
                self.trials.setdefault(trial.number, trial)  # one is enough to ask for the shard size
                return
            self._take_in(trial)
        if self.shard_size is not None:
            for number in [n for n in self.trials if n not in self._known()]:
                self._take_in(self.trials[number])

    def _known(self) -> set[int]:
        return {number for numbers in self.settings.values() for number in numbers}

    def _take_in(self, trial: TrialRecord) -> None:
        number = trial.number
        self._news = True
        self.trials[number] = trial
        setting = number if trial.replicate_of is None else trial.replicate_of
        self.settings.setdefault(setting, []).append(number)
        judged, skip = self._judged.get(number), self._skips.get(number)
        if judged is not None:
            self.exact[number] = self._objectives(trial, judged.clean_accuracy, judged.robust_accuracy)
        elif skip is not None:
            clean, robust = skip.clean_correct / skip.images, skip.bound / skip.images
            self.skipped[number] = self._objectives(trial, clean, robust)
        else:
            self._start((number, "validation"), trial)

    def _start(self, key: Key, trial: TrialRecord, *, randomised: bool = False) -> None:
        judge = self.sweep.judge.model_copy(update={"version": "rand"}) if randomised else self.sweep.judge
        judgement = self._judgement(judge, trial, key[1])
        if "randomised" in judgement.flags and judgement.plan.strength != "rand":
            self._start(key, trial, randomised=True)
            return
        self.open[key] = judgement
        self._news = True
        if judgement.finished:  # its last shard was written, but the record never heard of it
            self._close(key, judgement)

    def _judgement(self, judge: Judge, trial: TrialRecord, split: Split) -> Judgement:
        plan = Plan.of(judge, str(trial.weights), split, shard_size=self.shard_size or SHARD)
        return Judgement(trial, plan, plan.folder(self.record.judgements(trial.number)))

    def _close(self, key: Key, judgement: Judgement) -> None:
        number, split = key
        del self.open[key]
        clean, robust, raised = judgement.conclude()
        judged = Judged(
            images=judgement.images,
            clean_correct=clean,
            robust=robust,
            version=judgement.plan.version,
            autoattack=self.sweep.judge.autoattack and judgement.plan.strength != "rand",
            folder=str(judgement.folder.relative_to(self.record.folder)),
            seconds=judgement.seconds,
            flags=raised,
        )
        self.record.judge(number, split, judged)
        self.console.judged(number, split, judged)
        if raised:
            self.flagged.setdefault(number, set()).update(raised)
        if split == "test":
            self.on_test.add(number)
            if raised:
                self._members = None  # it cannot stay one, and what it pruned is open again
        else:
            self.exact[number] = self._objectives(judgement.trial, judged.clean_accuracy, judged.robust_accuracy)

    def _fail(self, key: Key, cause: str) -> None:
        number, split = key
        self.failed.add(key)
        del self.open[key]
        self.record.give_up_judging(number, split, cause)
        self.console.event(f"judging {number:04d} on {split} failed ({cause})")

    # What is where, and what follows from it.

    def _objectives(self, trial: TrialRecord, clean: float, robust: float) -> dict[str, float]:
        """Values of the sweep's objectives: accuracies as judged, all else as told."""
        judged = dict(zip(_JUDGED, (clean, robust), strict=True))
        return {name: judged[name] if name in _JUDGED else trial.metrics[name] for name in self.sweep.objectives}

    def _bounds(self, number: int) -> Values | None:
        """A trial's objectives at best; None where its judging failed."""
        if number in self.exact:
            return self.exact[number]
        if number in self.skipped:
            return self.skipped[number]
        judgement = self.open.get((number, "validation"))
        if judgement is None:
            return None
        best = judgement.bounds()
        return self._objectives(judgement.trial, best["clean_accuracy"], best["robust_accuracy"])

    def _place(self, setting: int) -> Values | None:
        """A setting's objectives at best: the mean over its trials that could be judged."""
        known = [bounds for number in self.settings[setting] if (bounds := self._bounds(number)) is not None]
        return mean(known, self.sweep.objectives) if known else None

    def _trusted(self, setting: int) -> bool:
        """Whether a setting takes part in the order: feasible, and no flag on any of its models."""
        return all(
            number not in self.flagged
            and self.trials[number].feasible
            and not getattr(self.open.get((number, "validation")), "flags", None)
            for number in self.settings[setting]
        )

    def _standing(self) -> dict[int, Values]:
        """Settings that are judged in full and trusted, where they stand."""
        awaited = {
            trial.replicate_of
            for trial in self.record.trials()
            if trial.replicate_of is not None and trial.outcome is None
        }
        found: dict[int, Values] = {}
        for setting, numbers in self.settings.items():
            settled = [n for n in numbers if n in self.exact or (n, "validation") in self.failed]
            if len(settled) == len(numbers) and setting not in awaited and self._trusted(setting):
                place = self._place(setting)
                if place is not None:
                    found[setting] = place
        return found

    def _prune(self) -> None:
        """Skips what cannot be on the frontier any more, and withdraws skips whose proof has fallen."""
        standing = self._standing()
        front = non_dominated(standing, self.sweep.objectives)  # what another dominates, one of these dominates too
        for setting, numbers in self.settings.items():
            pending = [n for n in numbers if (n, "validation") in self.open]
            skipped = [n for n in numbers if n in self.skipped]
            if not pending and not skipped:
                continue
            place = self._place(setting)
            better: list[int] = []
            looked_at = all(self.open[n, "validation"].looked_at for n in pending)  # a flagged one is not to be skipped
            if place is not None and looked_at and self._trusted(setting):
                better = [s for s in front if dominates(standing[s], place, self.sweep.objectives)]
            for number in skipped:
                if not better:
                    self._withdraw(number)
            for number in pending:
                judgement = self.open[number, "validation"]
                if judgement.doomed and judgement.in_flight:
                    continue
                judgement.doomed = bool(better)
                if better and not judgement.in_flight:
                    self._skip(number, judgement, min(n for s in better for n in self.settings[s] if n in self.exact))

    def _skip(self, number: int, judgement: Judgement, dominator: int) -> None:
        skipped = Skipped(
            dominator=dominator,
            after=judgement.last_attack,
            bound=judgement.robust_bound,
            images=judgement.images,
            clean_correct=judgement.clean_bound,
        )
        self.skipped[number] = self._bounds(number) or {}
        self.record.skip(number, skipped)
        self.console.skipped(number, skipped)
        del self.open[number, "validation"]

    def _withdraw(self, number: int) -> None:
        """Whoever proved that this trial need not be judged does not stand there any more."""
        del self.skipped[number]
        self.record.skip(number, None)
        self.console.event(f"judging {number:04d} goes on: what was better than it no longer stands")
        self._members = None
        self._start((number, "validation"), self.trials[number])

    def _order(self) -> Iterator[tuple[Judgement, str, int]]:
        """What to run first: (judgement, stage, shard).

        Those most likely on the frontier, for they are paid for anyway and prune the rest; among them the cheap early
        attacks of all before the expensive late ones of any, for an early attack may show that a trial belongs to the
        rest. The guess is the lower of the cheap attack's accuracy and the bound so far. It orders the work, no more.
        A late attack on a trial that is not likely waits while anything runs that may prove it needless.
        """
        waiting = list(self.open.values())
        guesses = []
        for judgement in waiting:
            best, told = judgement.bounds(), judgement.trial.metrics
            clean, robust = (min(best[name], told.get(name, 1.0)) for name in _JUDGED)
            guesses.append(self._objectives(judgement.trial, clean, robust))
        rank = ranks([*guesses, *self.exact.values()], self.sweep.objectives)
        running = any(judgement.in_flight for judgement in waiting)
        candidates = []
        for position, judgement in enumerate(waiting):
            ready = None if judgement.doomed else judgement.ready()
            if ready is not None and not (rank[position] > 0 and running and _late(judgement, ready[0])):
                depth = judgement.plan.stages.index(ready[0])
                candidates.append((rank[position], depth, judgement.trial.number, position, ready))
        for *_, position, (stage, shard) in sorted(candidates):
            yield waiting[position], stage, shard

    def _fix_members(self) -> Sequence[int]:
        """Stage 2: the frontier goes into the record; stage 3 is opened for the members not tested before."""
        settings = non_dominated(self._standing(), self.sweep.objectives)
        members = sorted(n for s in settings for n in self.settings[s] if n in self.exact)
        unread = [n for n in members if n not in self.on_test]
        events = self.record.snapshot().members
        if not events or events[-1].trials != members:
            self.console.members(self.record.fix_members(members, unread))
        for number in unread:
            if (number, "test") not in self.failed:
                self._start((number, "test"), self.trials[number])
        return members

    # Jobs.

    def _probe(self) -> Job | Signal:
        """Asks a worker how many images of the first model fit into its memory: the shard size of the whole sweep."""
        if self.probing:
            return WAIT
        self.probing = True
        number = min(self.trials)
        return Job(f"probe {number:04d}", number, self._work(_PROBE, number))

    def _job(self, judgement: Judgement, stage: str, shard: int) -> Job:
        judgement.in_flight.add(shard)
        number, plan = judgement.trial.number, judgement.plan
        work = self._work("judge", number) | {
            "judgements": str(self.record.judgements(number)),
            "split": plan.split,
            "attack": stage,
            "shard": shard,
            "shard_size": self.shard_size,
            "version": "rand" if plan.strength == "rand" else None,
            "as": plan.version,
            "weights": judgement.trial.weights,
        }
        as_rand = " rand" if work["version"] else ""
        return Job(f"judge {number:04d} {plan.split}{as_rand} {stage} {shard}", number, work)

    def _work(self, kind: str, number: int) -> dict[str, object]:
        return {
            "kind": kind,
            "folder": str(self.record.trial_folder(number)),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
        }


def _late(judgement: Judgement, stage: str) -> bool:
    """Whether a stage is beyond the tier of APGD: three quarters of the cost, and next to none of the breaks."""
    attacks = judgement.plan.attacks
    return stage in attacks and attacks.index(stage) >= _TIER
