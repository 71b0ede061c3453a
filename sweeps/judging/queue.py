"""Which trial to judge with which attack next, so that the frontier is exact and nothing else is paid for.

Stage 1, validation: the number of images not yet broken only falls, so every setting always has an upper bound. A setting
whose bound is dominated by one that is judged in full needs no more judging: whatever its remaining attacks do, it is not
on the frontier. Stage 2: the members are fixed in the record, once nothing on validation is left to judge. Stage 3: test
images are read, once, for members only.

A setting is a trial, or all trials with the same options and different seeds: it stands where the mean over them stands, once
all of them are judged; one that could not be judged leaves the others, and is tried again in the driver's next life. A
flagged or randomised model is judged in full (randomised, as version `rand`), and neither prunes nor is pruned nor is a
member. A trial that may have lost its robustness in training meets Square directly after the first APGD (`suspicion`): its
bound falls before thousands of steps along gradients are paid for, and what these break is as without. Whether a trial keeps
to the constraints its judged accuracies say: its judging ends once it misses one whatever the remaining attacks do, and its
setting takes no part. One that misses a constraint by what training alone measures is not judged at all. A skip holds as long
as a setting that stands proves it: if that is flagged later, or a replicate moves its mean, and no other does, the skip is
withdrawn.

So the frontier is the one that judging everything in full would have, whatever order results come in: `sweeps.standing` says
the same of the finished record. `order` says what comes first, `pruning` what is needless; both are kept up to date, and a
job costs O(log N + frontier) besides them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from robustray.judging import suspicion
from robustray.judging.plan import SHARD, Plan
from robustray.measures.metrics import ACCURACIES
from robustray.training import metrics_csv
from robustray.verdicts import CLEAN, SQUARE_EARLY
from sweeps.events import (
    AttackDone,
    JudgingFailed,
    JudgingReached,
    JudgingResumed,
    JudgingSkipped,
    Listener,
    MembersFixed,
    Said,
    TrialJudged,
)
from sweeps.frontier import Values, mean
from sweeps.judging.judgement import Judgement, Plans, Split, folder_of
from sweeps.judging.order import Order
from sweeps.judging.pruning import Pruning
from sweeps.judging.shards import FILES, Shards
from sweeps.record import Judged, Reached, Record, Skipped, TrialRecord
from sweeps.record.constraints import at_best, missed, violations
from sweeps.running.queues import DONE, WAIT, End, Job, Result, Signal, Verdict
from sweeps.space import Sweep
from sweeps.standing import SELECTION, TEST, hopeful, trusted

_PROBE = "probe"
Key = tuple[int, Split]
CLEAN_ACCURACY, ROBUST_ACCURACY = ACCURACIES


class Judging:
    """The queue of judge shards.

    Attributes:
        open: judgements under way.
        failed: judgements that could not be done in this life, so far.
    """

    def __init__(
        self,
        sweep: Sweep,
        record: Record,
        tell: Listener,
        *,
        session: str,
        training: Callable[[], bool],
        shards: Shards = FILES,
    ) -> None:
        """Reads the record.

        Args:
            tell: is told of what is judged, skipped and fixed.
            session: names this life of the driver. Judgements that failed in another one are tried again.
            training: whether a trial is still in training, and may yet complete.
            shards: where verdicts are read from.
        """
        self.sweep = sweep
        self.record = record
        self.tell = tell
        self.session = session
        self.training = training
        self.shards = shards
        self.shard_size: int | None = record.setting("shard_size")
        self.open: dict[Key, Judgement] = {}
        self.failed: set[Key] = set()
        self._tried_again: set[Key] = set()  # of those that failed
        self._plans = Plans(sweep.judge)
        self._order = Order[Key](sweep.objectives)
        self._pruning = Pruning(sweep.objectives)
        self._exact: dict[int, Values] = {}  # objectives of trials judged in full on validation
        self._skipped: dict[int, Values] = {}  # bounds of those that need no more judging
        self._settings: dict[int, list[int]] = {}  # complete trials, by the first of their setting
        self._awaited: dict[int, set[int]] = {}  # those that have not ended
        self._running: set[Key] = set()  # judgements with shards in flight
        self._flying: Counter[Key] = Counter()  # shards in flight, those of judgements that were given up among them
        self._new: deque[TrialRecord] = deque()  # complete, and not taken in so far
        self._issued = self._ended = 0  # so many trials of the record were looked at
        self._touched: set[int] = set()  # settings of which something is new
        self._probing = False
        self._searching = False  # when last asked, trials were still to be handed out
        self._members: Sequence[int] | None = None  # as fixed; None: not fixed since something is new
        snapshot = record.snapshot()
        self._flagged = {number for (number, _), judged in snapshot.judged.items() if judged.flags}

    # What backends ask and tell.

    def early(self) -> Job | None:
        """The next piece of work that is worth doing while trials are still to be handed out; None where there is none.

        That is a cheap one, on a trial that nothing is known to be better than and that keeps to the constraints, as far as
        is known: it shows flags, and what it leaves is what samplers learn from. The expensive attacks wait until all that
        may prove them needless is known.
        """
        if self.sweep.judge.trials == "none":
            return None
        self._searching = True
        self._admit()
        if self.shard_size is None and any(map(self._eligible, self._new)):
            probe = self._probe()
            return probe if isinstance(probe, Job) else None
        self._settle()
        key = self._order.early()
        return None if key is None or key[1] != SELECTION else self._job(key)

    def next(self) -> Job | Signal:
        if self.sweep.judge.trials == "none":
            return DONE
        self._searching = False
        self._admit()
        if self.shard_size is None and any(map(self._eligible, self._new)):
            return self._probe()
        self._settle()
        key = self._order.first(running=bool(self._running))
        if key is not None:
            return self._job(key)
        if self.open or self.training():
            return WAIT
        if again := self._again():
            if any(self._flying[each] for each in again):
                return WAIT  # what comes of it belongs to the judgement that failed
            self._try_again(again)
            return self.next()
        if self._members is None:
            self._fix_members()
            return self.next()
        return DONE

    @property
    def members(self) -> Sequence[int] | None:
        """The frontier's members as they are fixed; None since something is new that may change them."""
        return self._members

    def report(self, job: Job, result: Result) -> Verdict:
        return "go"

    def finish(self, job: Job, end: End) -> None:
        work, told = job.work, end.result
        if work["kind"] == _PROBE:
            self._probing = False
            found = int(told["shard_size"]) if end.outcome == "complete" else SHARD
            self.shard_size = int(self.record.setting("shard_size", found))
            return
        key: Key = (job.number, work["split"])
        self._flying[key] -= 1
        judgement = self.open.get(key)
        if judgement is None or judgement.plan.version != work["as"] or _early(judgement.plan) != work["square_early"]:
            return  # given up, or judged otherwise, while this shard was running
        if end.outcome != "complete":
            self._fail(key, f"{work['attack']}: {end.cause or end.outcome}")
            return
        judgement.take(work["attack"], work["shard"], told)
        if not judgement.in_flight:
            self._running.discard(key)
        self.tell(AttackDone(*key, work["attack"], judgement.robust_bound, judgement.images))
        if judgement.randomised:
            self._start(key, judgement.trial, randomised=True)
        elif work["attack"] == CLEAN and self._hurries(key, judgement):
            self._start(key, judgement.trial, square_early=True)
        elif judgement.finished:
            self._close(key, judgement)
        else:
            self._update(key)

    def idle(self) -> bool:
        """Whether all that has ended so far is judged as far as it need be. Judgements that failed count as done."""
        if self.sweep.judge.trials == "none":
            return True
        self._searching = False
        self._admit()
        if self._new or self._probing:
            return False
        self._settle()
        return not self.open

    # Judgements begin and end.

    def _admit(self) -> None:
        """Takes in trials that were issued or have ended since the last look."""
        trials, ended = self.record.trials(), self.record.ended()
        for trial in trials[self._issued :]:
            if trial.outcome is None:
                self._awaited.setdefault(trial.setting, set()).add(trial.number)
                self._touched.add(trial.setting)
        self._issued = len(trials)
        for number in ended[self._ended :]:
            trial = self.record.trial(number)
            self._awaited.get(trial.setting, set()).discard(number)
            self._touched.add(trial.setting)
            if trial.outcome == "complete":
                self._new.append(trial)
        self._ended = len(ended)
        while self._new and self.shard_size is not None:
            self._take_in(self._new.popleft())

    def _eligible(self, trial: TrialRecord) -> bool:
        return hopeful(trial, self.sweep.constraints) or self.sweep.judge.trials == "all"

    def _take_in(self, trial: TrialRecord) -> None:
        number = trial.number
        self._members = None
        self._settings.setdefault(trial.setting, []).append(number)
        if not self._eligible(trial):
            return
        judged, skipped = self.record.judged(number, SELECTION), self.record.skipped(number)
        if judged is not None:
            self._stands(trial, judged)
        elif skipped is not None and skipped.dominator is None:
            return
        elif skipped is not None:
            clean, robust = skipped.clean_correct / skipped.images, skipped.bound / skipped.images
            self._skipped[number] = self._objectives(trial, clean, robust)
        else:
            self._start((number, SELECTION), trial)

    def _start(self, key: Key, trial: TrialRecord, *, randomised: bool = False, square_early: bool = False) -> None:
        """Opens a judgement where its verdicts so far leave it."""
        size = self.shard_size or SHARD
        plan = self._plans.of(trial, key[1], size, randomised=randomised, square_early=square_early)
        folder = folder_of(plan, self.record.judgements(trial.number))
        judgement = self.open[key] = Judgement(trial, plan, folder, self.shards)
        self._running.discard(key)
        if judgement.randomised:
            self._start(key, trial, randomised=True)
        elif self._hurries(key, judgement):
            self._start(key, trial, square_early=True)
        elif judgement.finished:  # its last shard was written, but the record never heard of it
            self._close(key, judgement)
        else:
            self._update(key)

    def _hurries(self, key: Key, judgement: Judgement) -> bool:
        """Whether a trial is to meet Square before the attacks that follow gradients: see `suspicion`."""
        if key[1] != SELECTION or not judgement.may_hurry or judgement.fgsm is None:
            return False
        epochs = metrics_csv.column(self.record.trial_folder(key[0]), CLEAN_ACCURACY)
        why = suspicion.of(judgement.fgsm / judgement.images, judgement.trial.metrics.get(ROBUST_ACCURACY), epochs)
        if why:
            self.tell(Said(f"{key[0]:04d} meets Square early: {why}", timed=True))
        return bool(why)

    def _close(self, key: Key, judgement: Judgement) -> None:
        number, split = key
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
        if raised:
            self._flagged.add(number)
        self._drop(key)
        if split == TEST:
            if raised:
                self._members = None  # it cannot stay one, and what it pruned is open again
        else:
            self._stands(self.record.trial(number), judged)
        self.tell(TrialJudged(number, split, judged, missed(self.record.trial(number).violations)))

    def _stands(self, trial: TrialRecord, judged: Judged) -> None:
        """A trial is judged in full."""
        values = self._objectives(trial, judged.clean_accuracy, judged.robust_accuracy)
        self._exact[trial.number] = values
        self._order.place((trial.number, SELECTION), values, apart=not trial.feasible)

    def _fail(self, key: Key, cause: str) -> None:
        self.failed.add(key)
        self._drop(key)
        self.record.give_up_judging(*key, cause)
        self.tell(JudgingFailed(*key, cause))

    def _again(self) -> list[Key]:
        """What failed for the first time in this life: a full disk, a node that died and the like may have passed."""
        return sorted(self.failed - self._tried_again)

    def _try_again(self, keys: Sequence[Key]) -> None:
        self._tried_again.update(keys)
        self.failed.difference_update(keys)
        for number, split in keys:
            if split == SELECTION:
                self._members = None
            self.tell(Said(f"judging {number:04d} on {split} is tried again", timed=True))
            self._start((number, split), self.record.trial(number))

    def _skip(self, number: int, judgement: Judgement, better: Sequence[int]) -> None:
        skipped = Skipped(
            dominator=self._proof(better),
            after=judgement.last_attack,
            bound=judgement.robust_bound,
            images=judgement.images,
            clean_correct=judgement.clean_bound,
        )
        self._skipped[number] = self._objectives(judgement.trial, *judgement.bounds())
        self._drop((number, SELECTION))
        self.record.skip(number, skipped)
        self.tell(JudgingSkipped(number, skipped))

    def _cut(self, number: int, judgement: Judgement, by: Mapping[str, float]) -> None:
        """Whatever the remaining attacks do, a trial misses constraints."""
        skipped = Skipped(
            dominator=None,
            after=judgement.last_attack,
            bound=judgement.robust_bound,
            images=judgement.images,
            clean_correct=judgement.clean_bound,
            missed=by,
        )
        self._drop((number, SELECTION))
        self.record.skip(number, skipped)
        self.tell(JudgingSkipped(number, skipped))

    def _withdraw(self, number: int) -> None:
        """Whoever proved that this trial need not be judged does not stand there any more."""
        del self._skipped[number]
        self.record.skip(number, None)
        self.tell(JudgingResumed(number))
        self._members = None
        self._start((number, SELECTION), self.record.trial(number))

    def _drop(self, key: Key) -> None:
        del self.open[key]
        self._running.discard(key)
        self._order.remove(key)
        self._touched.add(self.record.trial(key[0]).setting)

    def _update(self, key: Key) -> None:
        """Where an open judgement may stand has changed, or which of its shards can be begun."""
        judgement = self.open[key]
        self._touched.add(judgement.trial.setting)
        told = judgement.trial.metrics
        guess = [min(bound, told.get(name, 1.0)) for name, bound in zip(ACCURACIES, judgement.bounds(), strict=True)]
        misses = missed(violations({**told, **dict(zip(ACCURACIES, guess, strict=True))}, self.sweep.constraints))
        self._order.place(key, self._objectives(judgement.trial, *guess), apart=bool(misses))
        if self._searching and key[1] == SELECTION and judgement.cheap_done and judgement.plan.passes == 1:
            self._write_down(key[0], judgement)
        self._offer(key, judgement)

    def _write_down(self, number: int, judgement: Judgement) -> None:
        """What the cheap attacks have left is in the record once they are done: samplers learn from it."""
        flags = tuple(sorted(judgement.flags))
        clean, bound = judgement.clean_bound, judgement.robust_bound
        reached = Reached(judgement.last_attack, bound, clean, judgement.images, flags)
        if self.record.reached(number) is None:
            self.record.reach(number, reached)
            self.tell(JudgingReached(number, reached))

    def _offer(self, key: Key, judgement: Judgement) -> None:
        ready = None if judgement.doomed else judgement.ready()
        if ready is None:
            self._order.withhold(key)
        else:
            self._order.offer(key, judgement.plan.stages.index(ready[0]), late=judgement.late(ready[0]))

    # What is where, and what follows from it.

    def _objectives(self, trial: TrialRecord, clean: float, robust: float) -> dict[str, float]:
        """Values of the sweep's objectives: accuracies as judged, all else as told."""
        judged = dict(zip(ACCURACIES, (clean, robust), strict=True))
        return {name: judged[name] if name in judged else trial.metrics[name] for name in self.sweep.objectives}

    def _bounds(self, number: int) -> Values | None:
        """A trial's objectives at best; None where it is not judged, or could not be."""
        known = self._exact.get(number) or self._skipped.get(number)
        judgement = self.open.get((number, SELECTION))
        if known is None and judgement is not None:
            return self._objectives(judgement.trial, *judgement.bounds())
        return known

    def _settle(self) -> None:
        """Skips what cannot be on the frontier any more, and withdraws skips whose proof has fallen."""
        while self._touched:
            touched, self._touched = self._touched, set()
            for setting in touched & self._settings.keys():
                if self.sweep.judge.trials == "frontier":
                    self._hold(setting)
                self._review(setting)
            changed = self._pruning.changed()
            if self.sweep.judge.trials == "frontier":
                for setting in sorted(changed):
                    self._prune(setting)

    def _hold(self, setting: int) -> None:
        """Ends the judging of trials that miss a constraint at best."""
        for judgement in self._pending(self._settings[setting]):
            by = at_best(judgement.ranges(), self.sweep.constraints)
            if not by or judgement.flags or not judgement.looked_at:
                continue  # a flagged one is judged in full, and its bound is no bound
            if judgement.in_flight:
                judgement.doomed = True
                self._offer((judgement.trial.number, SELECTION), judgement)
            else:
                self._cut(judgement.trial.number, judgement, by)

    def _review(self, setting: int) -> None:
        """Tells the pruning where a setting stands, or may stand at best."""
        numbers = self._settings[setting]
        pending = self._pending(numbers)
        known = [bounds for number in numbers if (bounds := self._bounds(number)) is not None]
        ended = (self.record.trial(number) for number in numbers if (number, SELECTION) not in self.open)
        sure = trusted(ended, self._flagged) and not any(each.flags for each in pending)
        if not known or not sure or not all(each.looked_at for each in pending):  # more flags may show
            self._pruning.remove(setting)
        elif self._awaited.get(setting) or not all(map(self._settled, numbers)):
            self._pruning.bound(setting, mean(known, self.sweep.objectives))
        else:
            self._pruning.stand(setting, mean(known, self.sweep.objectives))

    def _settled(self, number: int) -> bool:
        return number in self._exact or (number, SELECTION) in self.failed

    def _pending(self, numbers: Sequence[int]) -> list[Judgement]:
        return [self.open[number, SELECTION] for number in numbers if (number, SELECTION) in self.open]

    def _prune(self, setting: int) -> None:
        better, numbers = self._pruning.better(setting), self._settings[setting]
        for number in numbers:
            if number in self._skipped and not better:
                self._withdraw(number)
        for judgement in self._pending(numbers):
            number = judgement.trial.number
            if better and not judgement.in_flight:
                self._skip(number, judgement, better)
            elif not (judgement.doomed and judgement.in_flight):
                judgement.doomed = bool(better)
                self._offer((number, SELECTION), judgement)

    def _proof(self, better: Sequence[int]) -> int:
        """The first trial of the settings that dominate another one."""
        return min(number for setting in better for number in self._settings[setting] if number in self._exact)

    def _fix_members(self) -> None:
        """Stage 2: the frontier goes into the record; stage 3 is opened for the members not tested before."""
        front = self._pruning.frontier
        members = sorted(n for setting in front for n in self._settings[setting] if n in self._exact)
        self._members = members  # before tests are opened: one that only the record has not heard of may raise a flag
        self._prove_anew()
        unread = [number for number in members if self.record.judged(number, TEST) is None]
        known = self.record.members()
        if known is None or known.trials != members:
            self.tell(MembersFixed(self.record.fix_members(members, unread), len(front)))
        for number in unread:
            if (number, TEST) not in self.failed:
                self._start((number, TEST), self.record.trial(number))

    def _prove_anew(self) -> None:
        """Names another dominator where the one of a skip does not stand any more."""
        for number, skipped in self.record.snapshot().skipped.items():
            better = self._pruning.better(self.record.trial(number).setting)
            if skipped.dominator is None:
                continue
            if better and not self._pruning.stands(self.record.trial(skipped.dominator).setting):
                self.record.skip(number, replace(skipped, dominator=self._proof(better)))

    # Jobs.

    def _probe(self) -> Job | Signal:
        """Asks a worker how many images of the first model fit into its memory: the shard size of the whole sweep."""
        if self._probing:
            return WAIT
        self._probing = True
        number = min(trial.number for trial in self._new if self._eligible(trial))
        return Job(f"probe {number:04d}", number, self._work(_PROBE, number))

    def _job(self, key: Key) -> Job:
        judgement = self.open[key]
        stage, shard = judgement.hand_out()
        self._running.add(key)
        self._flying[key] += 1
        self._offer(key, judgement)
        number, plan = key[0], judgement.plan
        work = self._work("judge", number) | {
            "judgements": str(self.record.judgements(number)),
            "split": plan.split,
            "attack": stage,
            "shard": shard,
            "shard_size": self.shard_size,
            "version": "rand" if plan.strength == "rand" else None,
            "as": plan.version,
            "square_early": _early(plan),
            "weights": judgement.trial.weights,
        }
        if key in self._tried_again:
            work["session"] = f"{self.session} again"  # deaths of its process before count no more
        as_rand = " rand" if work["version"] else ""
        return Job(f"judge {number:04d} {plan.split}{as_rand} {stage} {shard}", number, work)

    def _work(self, kind: str, number: int) -> dict[str, object]:
        return {
            "kind": kind,
            "folder": str(self.record.trial_folder(number)),
            "session": self.session,
            "max_failures": self.sweep.resources.max_failures,
        }


def _early(plan: Plan) -> bool:
    """Whether Square comes directly after the first APGD."""
    return SQUARE_EARLY in plan.extras
