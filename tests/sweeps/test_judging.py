"""The frontier of what was judged is the frontier of everything, and test is read once, last."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import load
from robustray import registry
from robustray.data.base import Images
from robustray.data.digits import Digits
from robustray.judging.plan import Plan
from robustray.trial import TrialConfig
from robustray.verdicts import CLEAN, SQUARE_EARLY, Shard, shard_path, write_shard
from sweeps import record, standing
from sweeps.events import AttackDone, Event, JudgingReached, Listener, Said
from sweeps.frontier import dominates, non_dominated
from sweeps.judging.judgement import Judgement, Split, folder_of
from sweeps.judging.queue import Judging
from sweeps.judging.shards import FILES, Memory, Shards
from sweeps.record import Issued, Record, Skipped, Snapshot
from sweeps.record.constraints import Limits, missed, violations
from sweeps.running.queues import DONE, WAIT, End, Job
from sweeps.space import Sweep
from sweeps.space.space import Bound
from tests.sweeps.small import SPACE, run_quietly, small_sweep

IMAGES = 10
NONE: Limits = {}
ATTACKS = ("apgd-ce", "apgd-t", "fab-t")
WHOLE = (*ATTACKS, "square")
OBJECTIVES = {"clean_accuracy": "max", "robust_accuracy": "max"}
THREE = {**OBJECTIVES, "cost_passes": "min"}
TEXT = SPACE.replace("[apgd-ce]", "[apgd-ce, apgd-t, fab-t]").replace(
    "{validation: 60, test: 80}", f"{{validation: {IMAGES}, test: {IMAGES}}}"
)


@dataclass(frozen=True)
class Row:
    """What one trial will turn out to be: nobody knows before its shards are run."""

    broken: tuple[int, ...]  # clean errors, then images broken by each attack in turn
    flag: str = ""  # the stage that shows a flag on validation
    flag_on_test: bool = False  # the clean test images show one
    randomised: bool = False
    replicate_of: int | None = None
    cost: int = 0
    cheap: tuple[int, int] = (5, 5)  # clean and robust by the cheap attack, in tenths: worthless
    fails: bool = False  # no worker can read its weights
    faults: int = 0  # jobs that fail for a passing reason, before all others of it are done
    fgsm: int | None = None  # images of the first shard that one step leaves; None: nobody looked


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), text=TEXT)


@st.composite
def tables(draw: st.DrawFn, *, troubled: bool = False) -> list[Row]:
    """Integer verdict tables, full of ties and duplicates: few images, few outcomes.

    Args:
        troubled: with flags, randomised models, replicates, and weights that cannot be read.
    """
    table: list[Row] = []
    for number in range(draw(st.integers(1, 7))):
        row, left = [], IMAGES - 2  # the first shard bears it all
        for _ in range(1 + len(ATTACKS)):
            row.append(draw(st.integers(0, min(left, 4))))
            left -= row[-1]
        if not troubled:
            table.append(Row(tuple(row)))
            continue
        firsts = [n for n, other in enumerate(table) if other.replicate_of is None]
        table.append(
            Row(
                tuple(row),
                flag=draw(st.sampled_from(["", "", "", "", CLEAN, "apgd-ce", "fab-t"])),
                flag_on_test=draw(st.integers(0, 4)) == 0,
                randomised=draw(st.integers(0, 7)) == 0,
                replicate_of=draw(st.sampled_from(firsts)) if number and draw(st.integers(0, 2)) == 0 else None,
                cost=draw(st.integers(0, 2)),
                cheap=(draw(st.integers(0, 10)), draw(st.integers(0, 10))),
                fails=draw(st.integers(0, 9)) == 0,
                faults=draw(st.integers(0, 9)) == 0,
            )
        )
    return table


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "clean_accuracy": st.sampled_from(
            [Bound(min=0.8, max=None), Bound(min=0.9, max=None), Bound(min=None, max=0.9)]
        ),
        "robust_accuracy": st.sampled_from(
            [Bound(min=0.4, max=None), Bound(min=0.6, max=None), Bound(min=None, max=0.5)]
        ),
        "cost_passes": st.just(Bound(min=None, max=1)),
    },
)


class Training:
    """Trials that are issued in order, and complete in any."""

    def __init__(self, opened: Record, table: Sequence[Row], chance: random.Random) -> None:
        self.opened = opened
        self.chance = chance
        self.ahead = list(table)
        self.running: dict[int, Row] = {}

    def __bool__(self) -> bool:
        return bool(self.ahead or self.running)

    def step(self) -> None:
        """Issues a trial, or completes one."""
        if self.ahead and (not self.running or self.chance.random() < 0.5):
            row = self.ahead.pop(0)
            issued = Issued({}) if row.replicate_of is None else _replicate(row.replicate_of)
            self.running[self.opened.issue(issued)] = row
            return
        number = self.chance.choice(list(self.running))
        row = self.running.pop(number)
        told = _cheap(row)
        missed = violations(told, self.opened.constraints)
        self.opened.finish(number, "complete", metrics=told, weights=f"{number:064x}", violations=missed)


def _replicate(number: int) -> Issued:
    return Issued({}, seed=1, origin="replicate", parents=(number,))


def _cheap(row: Row) -> dict[str, float]:
    """What a trial reports when it ends."""
    clean, robust = row.cheap
    return {"clean_accuracy": clean / 10, "robust_accuracy": robust / 10, "cost_passes": float(row.cost)}


class FakePlace:
    """Gives the verdicts of a table as real shards, several jobs in flight, ending in any order. The rest is real."""

    def __init__(
        self, table: Sequence[Row], chance: random.Random, slots: int, *, memory: Memory | None = None
    ) -> None:
        """Args: memory: where shards go; into files where there is none."""
        self.table = table
        self.chance = chance
        self.slots = slots
        self.memory = memory
        self.shards: Shards = memory or FILES
        self.ran: list[tuple[int, str, str, int]] = []
        self.faults: Counter[int] = Counter()  # so far, by trial

    def run(self, judging: Judging, jobs: int | None = None, training: Training | None = None) -> None:
        """Until the end, or until so many jobs were handed out: what is in flight then is lost, as when killed."""
        flying: list[Job] = []
        while True:
            if jobs is not None and len(self.ran) + len(flying) >= jobs:
                return
            while training and self.chance.random() < 0.2:
                training.step()
            early = bool(training) and self.chance.random() < 0.5
            job = ((judging.early() or WAIT) if early else judging.next()) if len(flying) < self.slots else WAIT
            if isinstance(job, Job):
                flying.append(job)
                continue
            if job is DONE:
                assert not training
                for stale in flying:  # given up, or of a model that was begun anew as a randomised one
                    row = self.table[stale.number]
                    assert row.randomised or row.fails or row.faults
                    self.land(judging, stale)
                return
            if not flying:
                assert training, "waiting for nothing"
                training.step()
                continue
            landed = flying.pop(self.chance.randrange(len(flying)))
            self.land(judging, landed)

    def land(self, judging: Judging, job: Job) -> None:
        work = job.work
        self.ran.append((job.number, work["split"], f"{work['as']} {work['attack']}", work["shard"]))
        if self.table[job.number].fails:
            judging.finish(job, End("failed", "no whole checkpoint"))
        elif self.faults[job.number] < self.table[job.number].faults:
            self.faults[job.number] += 1
            self.ran.pop()
            judging.finish(job, End("failed", "a passing fault"))
        else:
            judging.finish(job, End("complete", result=self.verdicts(judging, job)))

    def verdicts(self, judging: Judging, job: Job) -> dict[str, Any]:
        row, work = self.table[job.number], job.work
        stage, shard = work["attack"], work["shard"]
        judgement = judging.open.get((job.number, work["split"]))
        if (
            judgement is None
            or judgement.plan.version != work["as"]
            or (SQUARE_EARLY in judgement.plan.extras) != work["square_early"]
        ):
            return {"broken": 0, "seconds": 1.0, "flags": []}  # given up while it ran: nobody will look
        rows = standing = judgement.plan.shard(shard).astype(np.int32)
        for earlier in judgement.plan.before(stage):
            before = self.shards.read(judgement.folder, earlier, shard)
            assert before is not None
            standing = standing[~np.isin(standing, before.image[before.broken])]
        # the first shard loses everything there is to lose, the second nothing
        stages = (CLEAN, *WHOLE)
        until = np.cumsum([0, *row.broken])
        theirs = [stage]
        if work["square_early"] and stage == "square":
            theirs.append("apgd-t")  # it breaks what another one would have broken too
        places = [stages.index(each) for each in theirs if each in stages[: len(row.broken)] and shard == 0]
        taken = [rows[until[at] : until[at + 1]] for at in places]
        broken = np.isin(standing, np.concatenate([rows[:0], *taken]))
        earlier_broken = [
            done.image[done.broken]
            for each in judgement.plan.stages[: judgement.plan.stages.index(stage)]
            if (done := self.shards.read(judgement.folder, each, shard)) is not None
        ]
        anew = broken & ~np.isin(standing, np.concatenate([rows[:0], *earlier_broken]))
        correct = 1 - broken.astype(np.float32)
        shown = row.flag == stage and work["split"] == "validation"
        shown |= row.flag_on_test and work["split"] == "test" and stage == CLEAN
        flags = [*(["dynamic"] if shown else []), *(["randomised"] if row.randomised and stage == CLEAN else [])]
        info: dict[str, Any] = {"seconds": 1.0, "flags": flags}
        if stage == CLEAN and row.fgsm is not None:
            info["fgsm"] = row.fgsm if shard == 0 else 0
        labels = np.zeros(len(standing), np.int16)
        made = Shard(stage, shard, standing, labels, broken.astype(np.int16), broken, correct, info)
        if self.memory is None:
            judgement.folder.mkdir(parents=True, exist_ok=True)
            write_shard(judgement.folder, made)
        else:
            self.memory.put(judgement.folder, made)
        return info | {"broken": int(anew.sum())}


def _opened(folder: Path, sweep: Sweep) -> Record:
    opened = Record(folder, sweep.objectives, constraints=sweep.constraints)
    opened.setting("shard_size", IMAGES - 2)  # two shards, unequal
    return opened


def _record(folder: Path, sweep: Sweep, table: Sequence[Row], chance: random.Random) -> Record:
    """With all trials complete."""
    opened = _opened(folder, sweep)
    training = Training(opened, table, chance)
    while training:
        training.step()
    return opened


def _nobody(event: Event) -> None:
    """Listens to nothing."""


def _judging(
    sweep: Sweep, opened: Record, training: Training | None = None, shards: Shards = FILES, tell: Listener = _nobody
) -> Judging:
    return Judging(sweep, opened, tell, session="one", training=lambda: bool(training), shards=shards)


def _full(row: Row) -> dict[str, float]:
    """Where a trial stands when everything is judged."""
    clean, robust = IMAGES - row.broken[0], IMAGES - sum(row.broken)
    return {"clean_accuracy": clean / IMAGES, "robust_accuracy": robust / IMAGES, "cost_passes": float(row.cost)}


def _misses(row: Row, limits: Limits) -> bool:
    """Whether a trial misses a constraint when everything is judged; by the cheap attack where it cannot be."""
    return bool(missed(violations(_cheap(row) if row.fails else _full(row), limits)))


def _brute_force(
    table: Sequence[Row], objectives: Mapping[str, str], limits: Limits = NONE, *, flagged: Collection[int] = ()
) -> list[int]:
    """The members by the definition: settings by the mean over what can be judged, trusted ones only, nobody left out."""
    settings: dict[int, list[int]] = {}
    for number, row in enumerate(table):
        settings.setdefault(number if row.replicate_of is None else row.replicate_of, []).append(number)
    places = {}
    for setting, numbers in settings.items():
        judged = [n for n in numbers if not table[n].fails]
        doubtful = any(table[n].flag or table[n].randomised or n in flagged for n in judged)
        if judged and not doubtful and not any(_misses(table[n], limits) for n in numbers):
            values = [_full(table[n]) for n in judged]
            places[setting] = {name: sum(v[name] for v in values) / len(values) for name in objectives}

    def better(a: Mapping[str, float], b: Mapping[str, float]) -> bool:
        gains = [(a[name] - b[name]) * (1 if mode == "max" else -1) for name, mode in objectives.items()]
        return min(gains) > -1e-12 and max(gains) > 1e-12

    standing = [s for s, place in places.items() if not any(better(other, place) for other in places.values())]
    return sorted(number for setting in standing for number in settings[setting] if not table[number].fails)


def _members(table: Sequence[Row], objectives: Mapping[str, str], limits: Limits) -> tuple[list[int], set[int]]:
    """The members in the end, and who was found out on test: a flag there opens again what its bearer pruned."""
    flagged: set[int] = set()
    while True:
        members = _brute_force(table, objectives, limits, flagged=flagged)
        found = {number for number in members if table[number].flag_on_test}
        if not found:
            return members, flagged
        flagged |= found


@settings(max_examples=80, deadline=None)
@given(
    table=tables(troubled=True),
    seed=st.integers(0, 2**16),
    slots=st.integers(1, 4),
    three=st.booleans(),
    limits=LIMITS,
)
def test_the_pruned_frontier_is_the_full_one(
    sweep: Sweep, table: list[Row], seed: int, slots: int, three: bool, limits: dict[str, Bound]
) -> None:
    """On random tables with ties, duplicates, flags early, late and on test, randomised models, replicates, missed
    constraints and failures, for two and three objectives, trials that complete while others are judged, early or not,
    results in any order, several jobs at a time."""
    chance = random.Random(seed)
    objectives = THREE if three else OBJECTIVES
    this = sweep.model_copy(update={"objectives": objectives, "constraints": limits})
    with tempfile.TemporaryDirectory() as folder, _opened(Path(folder), this) as opened:
        training = Training(opened, table, chance)
        for _ in range(chance.randint(0, 2 * len(table))):
            training.step()
        place = FakePlace(table, chance, slots, memory=Memory())
        place.run(_judging(this, opened, training, place.shards), training=training)
        _check(opened.snapshot(), table, objectives, place)


def _check(snapshot: Snapshot, table: Sequence[Row], objectives: Mapping[str, str], place: FakePlace) -> None:
    limits = snapshot.constraints
    expected, found_out = _members(table, objectives, limits)
    assert snapshot.members[-1].trials == expected
    assert standing.members(snapshot) == expected
    judged = {number for number, split in snapshot.judged if split == "validation"}
    for number, row in enumerate(table):
        if "cost_passes" in limits and row.cost > 1:
            assert number not in judged | set(snapshot.skipped), "training alone measures it: no judging can mend it"
            continue
        if row.fails:
            assert (number, "validation") in snapshot.unjudged
            continue
        assert (number in judged) != (number in snapshot.skipped), "judged or proven needless, one of the two"
        if row.randomised:
            assert number in judged
            assert snapshot.judged[number, "validation"].version == "rand"
            assert "randomised" in snapshot.judged[number, "validation"].flags
        if row.flag == CLEAN:
            assert number in judged, "a flag seen in time means judging in full"
    for number, skipped in snapshot.skipped.items():
        assert number not in expected
        if skipped.dominator is None:
            exact = missed(violations(_full(table[number]), limits))
            assert skipped.missed
            for name, amount in skipped.missed.items():
                assert 0 < amount <= exact[name], "a bound, and what is asked for lies beyond it"
            continue
        dominator = snapshot.judged[skipped.dominator, "validation"]
        assert not dominator.flags
        assert not _misses(table[skipped.dominator], limits)
        assert skipped.dominator not in found_out
    for (number, split), found in snapshot.judged.items():
        if not table[number].randomised:
            assert found.robust == IMAGES - sum(table[number].broken)
            assert found.clean_correct == IMAGES - table[number].broken[0]
        assert split == "validation" or number in {*expected, *found_out} or snapshot.members[:-1]
    opened_for = {n for event in snapshot.members for n in event.opened}
    assert {n for n, split in snapshot.judged if split == "test"} == opened_for, "test is read for members only"
    times = Counter(piece for piece in place.ran if not table[piece[0]].fails and not table[piece[0]].faults)
    assert set(times.values()) <= {1}, "nothing is run twice"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Judged by all of AutoAttack."""
    text = TEXT.replace("[apgd-ce, apgd-t, fab-t]", "standard")
    return small_sweep(tmp_path_factory.mktemp("space"), text=text)


@settings(max_examples=12, deadline=None)
@given(
    data=st.data(), seed=st.integers(0, 2**16), slots=st.integers(1, 4), kills=st.lists(st.integers(0, 25), max_size=1)
)
def test_who_meets_square_early_is_no_other_frontier(
    whole: Sweep, data: st.DataObject, seed: int, slots: int, kills: list[int]
) -> None:
    """Nor do kills change it. A trial is suspicious where one step leaves two images in ten more than its validation did, and
    flagged in either order where Square breaks what all others leave."""
    table = [
        replace(row, broken=(*row.broken, data.draw(st.integers(0, min(2, IMAGES - 2 - sum(row.broken))))), fgsm=fgsm)
        for row in data.draw(tables())
        for fgsm in [data.draw(st.sampled_from([None, 4, 5, 7, 8]))]
    ]
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), whole, table, chance) as opened:
        memory = Memory()
        for jobs in kills:
            FakePlace(table, chance, slots, memory=memory).run(_judging(whole, opened, shards=memory), jobs)
        place = FakePlace(table, chance, slots, memory=memory)
        judging = _judging(whole, opened, shards=memory)
        place.run(judging)
        snapshot = opened.snapshot()
        flagged = {number for number, row in enumerate(table) if row.broken[-1]}
        assert snapshot.members[-1].trials == _brute_force(table, OBJECTIVES, flagged=flagged)
        for (number, split), judged in snapshot.judged.items():
            assert judged.flags == (("square_beats_white_box",) if number in flagged else ())
            hurried = split == "validation" and (table[number].fgsm or 0) > 6
            on: Split = "validation" if split == "validation" else "test"
            plan = judging._plans.of(opened.trial(number), on, IMAGES - 2, square_early=hurried)
            assert judged.folder.endswith(folder_of(plan, Path()).name)
            assert judged.robust == IMAGES - sum(table[number].broken)
            assert (judged.version, judged.autoattack) == ("standard", True)


def test_a_suspicious_trial_is_ruled_out_by_square(whole: Sweep, tmp_path: Path) -> None:
    """After the first APGD and Square: the thousands of steps along gradients are never paid for."""
    table = [Row((0, 1, 0, 0, 0), fgsm=5), Row((0, 0, 1, 1, 6), fgsm=8)]
    said: list[Event] = []
    with _record(tmp_path, whole, table, random.Random(1)) as opened:
        place = FakePlace(table, random.Random(0), 1)
        place.run(_judging(whole, opened, tell=said.append))
        assert opened.snapshot().skipped[1].bound == IMAGES - 7
        assert {stage for number, _, stage, _ in place.ran if number == 1} == {
            "standard clean",
            "standard apgd-ce",
            "standard square",
        }
    lines = [event.line for event in said if isinstance(event, Said)]
    assert lines == ["0001 meets Square early: one step leaves 80.0%, the validation attack 50.0%"]


@settings(max_examples=30, deadline=None)
@given(table=tables(), seed=st.integers(0, 2**16), slots=st.integers(1, 4))
def test_a_plain_sweep_tests_nobody_but_its_members(sweep: Sweep, table: list[Row], seed: int, slots: int) -> None:
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), sweep, table, chance) as opened:
        place = FakePlace(table, chance, slots, memory=Memory())
        place.run(_judging(sweep, opened, shards=place.shards))
        snapshot = opened.snapshot()
        expected = _brute_force(table, OBJECTIVES)
        assert [event.trials for event in snapshot.members] == [expected]
        assert {n for n, split in snapshot.judged if split == "test"} == set(expected)
        assert not any(split == "test" and number not in expected for number, split, _, _ in place.ran)
        for number, skipped in snapshot.skipped.items():
            assert skipped.dominator is not None
            assert dominates(_full(table[skipped.dominator]), _full(table[number]), OBJECTIVES)


@settings(max_examples=25, deadline=None)
@given(table=tables(troubled=True), seed=st.integers(0, 2**16), kills=st.lists(st.integers(0, 25), max_size=3))
def test_a_killed_driver_comes_to_the_same_frontier(
    sweep: Sweep, table: list[Row], seed: int, kills: list[int]
) -> None:
    """Killed with jobs in flight, at any point: the record and the shard files bring it back."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), sweep, table, chance) as opened:
        for jobs in kills:
            FakePlace(table, chance, 2).run(_judging(sweep, opened), jobs)
        place = FakePlace(table, chance, 2)
        place.run(_judging(sweep, opened))
        _check(opened.snapshot(), table, OBJECTIVES, place)


def test_a_late_flag_opens_what_it_pruned(sweep: Sweep, tmp_path: Path) -> None:
    """The best one is found out on test: the next best, skipped because of it, is judged after all and tested."""
    table = [Row((0, 0, 0, 0), flag_on_test=True), Row((1, 1, 0, 0)), Row((2, 1, 1, 1))]
    with _record(tmp_path, sweep, table, random.Random(1)) as opened:
        FakePlace(table, random.Random(0), 1).run(_judging(sweep, opened))
        snapshot = opened.snapshot()
        assert [event.trials for event in snapshot.members] == [[0], [1]]
        assert [event.opened for event in snapshot.members] == [[0], [1]]
        assert snapshot.judged[0, "test"].flags == ("dynamic",)
        assert snapshot.skipped[2].dominator == 1
        assert set(load(tmp_path).query("flags != ''")["trial"]) == {0}


def test_a_replicate_that_comes_late_moves_the_mean_and_opens_what_it_pruned(sweep: Sweep, tmp_path: Path) -> None:
    table = [Row((0, 0, 0, 0)), Row((1, 1, 0, 0)), Row((4, 4, 0, 0), replicate_of=0)]
    with _record(tmp_path, sweep, table[:2], random.Random(1)) as opened:
        FakePlace(table, random.Random(0), 1).run(_judging(sweep, opened))
        assert set(opened.snapshot().skipped) == {1}
        opened.issue(_replicate(0))
        cheap = {"clean_accuracy": 0.5, "robust_accuracy": 0.5}
        opened.finish(2, "complete", metrics=cheap, weights="2" * 64)
        FakePlace(table, random.Random(0), 1).run(_judging(sweep, opened))
        snapshot = opened.snapshot()
        assert 1 not in snapshot.skipped
        assert snapshot.members[-1].trials == _brute_force(table, OBJECTIVES) == [1]


def test_a_trial_that_completes_after_the_members_were_fixed_is_judged_and_they_are_fixed_again(
    sweep: Sweep, tmp_path: Path
) -> None:
    table = [Row((1, 1, 0, 0)), Row((0, 0, 0, 0))]
    with _record(tmp_path, sweep, table[:1], random.Random(1)) as opened:
        place = FakePlace(table, random.Random(0), 1)
        judging = _judging(sweep, opened)
        place.run(judging)
        opened.issue(Issued({}))
        opened.finish(1, "complete", metrics=dict.fromkeys(OBJECTIVES, 0.5), weights="1" * 64)
        place.run(judging)
        assert [event.trials for event in opened.snapshot().members] == [[0], [1]]


def _held(sweep: Sweep, **limits: Bound) -> Sweep:
    return sweep.model_copy(update={"constraints": limits})


def test_judging_ends_where_a_bound_falls_below_a_floor(sweep: Sweep, tmp_path: Path) -> None:
    """As soon as the first attack has shown it, for good: another life of the driver reads it back and does nothing."""
    table = [Row((1, 4, 0, 0), cheap=(9, 9)), Row((2, 0, 0, 1), cheap=(9, 1)), Row((4, 0, 0, 0))]
    this = _held(sweep, robust_accuracy=Bound(min=0.6, max=None), clean_accuracy=Bound(min=0.7, max=None))
    expected = Skipped(
        None, CLEAN, 5, 9, IMAGES, {"robust_accuracy": 0.6 - 0.5}
    )  # its other shard need not be attacked
    unclean = Skipped(None, CLEAN, 6, 6, IMAGES, {"clean_accuracy": 0.7 - 0.6})
    with _record(tmp_path, this, table, random.Random(1)) as opened:
        assert [trial.feasible for trial in opened.trials()] == [True, False, False], "by the cheap attack"
        place = FakePlace(table, random.Random(0), 1)
        place.run(_judging(this, opened))
        snapshot = opened.snapshot()
        assert snapshot.skipped == {0: expected, 2: unclean}
        assert [trial.feasible for trial in snapshot.trials] == [False, True, False], "by what is judged"
        assert snapshot.members[-1].trials == [1]
        ran = list(place.ran)
        assert sum(number == 0 for number, *_ in ran) == 3
    with Record(tmp_path, this.objectives, constraints=this.constraints) as again:
        place.run(_judging(this, again))
        assert place.ran == ran
        assert again.snapshot().skipped == {0: expected, 2: unclean}
        assert again.trials() == list(record.read(tmp_path).trials)


def test_a_trial_outside_the_constraints_prunes_nobody(sweep: Sweep, tmp_path: Path) -> None:
    """It would dominate the other one, also while it is only likely to: that is judged in full and a member."""
    table = [Row((0, 0, 0, 0), cheap=(10, 10), cost=2), Row((0, 0, 1, 0)), Row((1, 1, 1, 1))]
    this = _held(sweep, robust_accuracy=Bound(min=None, max=0.9))
    with _record(tmp_path, this, table, random.Random(1)) as opened:
        FakePlace(table, random.Random(0), 1).run(_judging(this, opened))
        snapshot = opened.snapshot()
        assert (0, "validation") in snapshot.judged, "only in full it is known to be above"
        assert snapshot.members[-1].trials == [1]
        assert snapshot.skipped[2].dominator == 1


def test_a_folder_of_before_is_held_to_what_was_told(sweep: Sweep, tmp_path: Path) -> None:
    """The record does not say what trials are held to: an infeasible one is neither judged nor a member."""
    with _opened(tmp_path, sweep) as opened:
        for number, row in enumerate([Row((0, 0, 0, 0)), Row((1, 1, 1, 1))]):
            opened.issue(Issued({}))
            told = {"clean_accuracy": 0.1 - number}
            opened.finish(number, "complete", metrics=_cheap(row), weights=f"{number:064x}", violations=told)
        FakePlace([Row((0, 0, 0, 0)), Row((1, 1, 1, 1))], random.Random(0), 1).run(_judging(sweep, opened))
        snapshot = opened.snapshot()
        assert {number for number, _ in snapshot.judged} == {1}
        assert snapshot.members[-1].trials == [1]


def test_what_is_worth_doing_early_is_cheap_likely_and_written_down(sweep: Sweep, tmp_path: Path) -> None:
    """The clean pass and both attacks of APGD on the likely one; the late attack, the other trial and test wait."""
    table = [Row((1, 1, 1, 1), cheap=(9, 9), flag=CLEAN), Row((0, 0, 0, 0), cheap=(5, 5))]
    told: list[Event] = []
    with _record(tmp_path, sweep, table, random.Random(1)) as opened:
        judging, place = _judging(sweep, opened, tell=told.append), FakePlace(table, random.Random(0), 1)

        def early() -> None:
            while (job := judging.early()) is not None:
                place.land(judging, job)

        early()
        done = {(number, split, attack) for number, split, attack, _ in place.ran}
        assert {number for number, _, _ in done} == {0}, "the other one is dominated as far as is known"
        reached = opened.snapshot().reached
        assert not opened.snapshot().judged
        assert (reached[0].after, reached[0].bound, reached[0].clean_correct) == ("apgd-t", 7, 9)
        assert reached[0].flags == ("dynamic",), "flags are known early"
        assert [event for event in told if isinstance(event, JudgingReached)] == [JudgingReached(0, reached[0])]
        assert record.read(tmp_path).reached == reached
        place.run(judging)
        assert len(place.ran) == len(set(place.ran)), "nothing is judged twice"
        assert opened.snapshot().members[-1].trials == [1]


def test_a_setting_proves_nothing_while_a_seed_of_it_is_in_training(sweep: Sweep, tmp_path: Path) -> None:
    table = [Row((0, 0, 0, 0)), Row((1, 1, 0, 0)), Row((4, 4, 0, 0), replicate_of=0)]
    with _record(tmp_path, sweep, table[:2], random.Random(1)) as opened:
        training = Training(opened, table[2:], random.Random(1))
        training.step()
        judging, place = _judging(sweep, opened, training), FakePlace(table, random.Random(0), 1)
        while (job := judging.next()) is not WAIT:
            assert isinstance(job, Job)
            place.land(judging, job)
        snapshot = opened.snapshot()
        assert not snapshot.skipped
        assert set(snapshot.judged) == {(0, "validation"), (1, "validation")}


def test_a_model_is_looked_at_before_it_is_skipped(sweep: Sweep, tmp_path: Path) -> None:
    """A perfect and cheaper one stands already; a flag of the other is found out all the same, and it is judged in full."""
    table = [Row((0, 0, 0, 0)), Row((1, 1, 0, 0), flag=CLEAN, cost=1), Row((1, 1, 0, 0), cost=1)]
    this = sweep.model_copy(update={"objectives": THREE})
    with _record(tmp_path, this, table[:1], random.Random(1)) as opened:
        judging, place = _judging(this, opened), FakePlace(table, random.Random(0), 1)
        place.run(judging)
        later = Training(opened, table[1:], random.Random(1))
        while later:
            later.step()
        place.run(judging)
        snapshot = opened.snapshot()
        assert snapshot.judged[1, "validation"].flags == ("dynamic",)
        assert snapshot.skipped[2].after == CLEAN


def test_a_skip_names_a_dominator_that_stands(sweep: Sweep, tmp_path: Path) -> None:
    """The one that proved it is found out on test, but another one proves it as well."""
    table = [Row((0, 2, 0, 0), flag_on_test=True), Row((1, 0, 0, 0)), Row((4, 3, 1, 1))]
    with _record(tmp_path, sweep, table, random.Random(1)) as opened:
        FakePlace(table, random.Random(0), 1).run(_judging(sweep, opened))
        snapshot = opened.snapshot()
        assert [event.trials for event in snapshot.members] == [[0, 1], [1]]
        assert snapshot.skipped[2].dominator == 1


def test_what_happens_is_told(sweep: Sweep, tmp_path: Path) -> None:
    """The best is judged, the other skipped because of it; found out on test, it leaves its place to the other."""
    table = [Row((0, 0, 0, 0), flag_on_test=True), Row((1, 1, 0, 0))]
    told: list[Event] = []
    with _record(tmp_path, sweep, table, random.Random(1)) as opened:
        FakePlace(table, random.Random(0), 1).run(_judging(sweep, opened, tell=told.append))
    kinds = [type(event).__name__ for event in told if not isinstance(event, AttackDone)]
    assert kinds == [
        *("TrialJudged", "JudgingSkipped", "MembersFixed", "TrialJudged"),
        *("JudgingResumed", "TrialJudged", "MembersFixed", "TrialJudged"),
    ]
    attacks = [(event.number, event.split) for event in told if isinstance(event, AttackDone)]
    assert attacks.count((0, "validation")) == attacks.count((1, "test")) == 2 * (1 + len(ATTACKS))
    assert {event.standing for event in told if isinstance(event, AttackDone) and event.number == 0} == {IMAGES}


@settings(max_examples=15, deadline=None)
@given(table=tables(), seed=st.integers(0, 2**16))
def test_judging_all_leaves_nobody_out(sweep: Sweep, table: list[Row], seed: int) -> None:
    chance = random.Random(seed)
    every = sweep.model_copy(update={"judge": sweep.judge.model_copy(update={"trials": "all"})})
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), sweep, table, chance) as opened:
        place = FakePlace(table, chance, 2, memory=Memory())
        place.run(_judging(every, opened, shards=place.shards))
        snapshot = opened.snapshot()
        assert {n for n, split in snapshot.judged if split == "validation"} == set(range(len(table)))
        assert snapshot.members[-1].trials == _brute_force(table, OBJECTIVES)


def test_a_trial_that_cannot_be_judged_stays_off_the_frontier_and_the_rest_goes_on(
    sweep: Sweep, tmp_path: Path
) -> None:
    chance = random.Random(0)
    table = [Row((0, 0, 0, 0)), Row((1, 1, 1, 1))]  # the first would dominate
    with _record(tmp_path, sweep, table, chance) as opened:
        judging, place = _judging(sweep, opened), FakePlace(table, chance, 1)
        while (job := judging.next()) is not DONE:
            assert isinstance(job, Job)
            if job.number == 0:
                judging.finish(job, End("failed", "no whole checkpoint"))
            else:
                place.land(judging, job)
        snapshot = opened.snapshot()
        assert snapshot.members[-1].trials == [1]
        assert "no whole checkpoint" in snapshot.unjudged[0, "validation"]


def test_a_failed_test_judgement_changes_no_frontier_and_is_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    table = [Row((0, 1, 0, 0)), Row((1, 1, 1, 1))]  # the first dominates
    with _record(tmp_path, sweep, table, random.Random(0)) as opened:

        def life(fails: bool) -> None:
            judging, place = _judging(sweep, opened), FakePlace(table, random.Random(0), 1)
            while (job := judging.next()) is not DONE:
                assert isinstance(job, Job)
                if fails and job.work["split"] == "test":
                    judging.finish(job, End("failed", "a passing fault"))
                else:
                    place.land(judging, job)

        life(fails=True)
        snapshot = opened.snapshot()
        assert [event.trials for event in snapshot.members] == [[0]]
        assert set(snapshot.unjudged) == {(0, "test")}
        row = load(tmp_path).set_index("trial").loc[0]
        assert row["judging"] == "full", "its numbers on the selection set stand"
        assert "test failed" in row["cause"]
        life(fails=False)
        snapshot = opened.snapshot()
        assert [event.trials for event in snapshot.members] == [[0]]
        assert snapshot.unjudged == {}
        assert (0, "test") in snapshot.judged


def test_a_shard_may_fail_while_another_of_its_trial_runs(sweep: Sweep, tmp_path: Path) -> None:
    with _record(tmp_path, sweep, [Row((0, 0, 0, 0))], random.Random(0)) as opened:
        judging = _judging(sweep, opened)
        first, second = judging.next(), judging.next()
        assert isinstance(first, Job)
        assert isinstance(second, Job)
        judging.finish(first, End("failed", "full device"))
        assert judging.next() is WAIT, "what is in flight would be taken for the second try's"
        judging.finish(second, End("complete", result={"broken": 0, "seconds": 0.1}))
        again = judging.next()
        assert isinstance(again, Job)
        assert (again.name, again.work["session"]) == (first.name, "one again")
        judging.finish(again, End("failed", "full device"))
        assert judging.next() is DONE
        assert opened.snapshot().members[-1].trials == []


def test_members_are_fixed_after_what_failed_was_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    """A fault that has passed: the best trial is a member at once, and test is read for nobody before."""
    table = [Row((0, 0, 0, 0), faults=1), Row((1, 1, 1, 1)), Row((2, 2, 2, 2))]
    chance = random.Random(0)
    with _record(tmp_path, sweep, table, chance) as opened:
        place, told = FakePlace(table, chance, 1), list[Event]()
        place.run(_judging(sweep, opened, tell=told.append))
        snapshot = opened.snapshot()
        said = [event.line for event in told if isinstance(event, Said)]
        assert said == ["judging 0000 on validation is tried again"]
        assert [event.trials for event in snapshot.members] == [[0]]
        assert {number for number, split, _, _ in place.ran if split == "test"} == {0}
        assert snapshot.unjudged == {}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_fails_twice_is_left_and_tried_in_the_next_life(sweep: Sweep, tmp_path: Path, split: str) -> None:
    table = [Row((0, 0, 0, 0))]
    with _record(tmp_path, sweep, table, random.Random(0)) as opened:
        for times in (2, 0):
            judging, place, failed = _judging(sweep, opened), FakePlace(table, random.Random(0), 1), 0
            while (job := judging.next()) is not DONE:
                assert isinstance(job, Job)
                if failed < times and job.work["split"] == split:
                    failed += 1
                    judging.finish(job, End("failed", "no space"))
                else:
                    place.land(judging, job)
            snapshot = opened.snapshot()
            assert set(snapshot.unjudged) == ({(0, split)} if times else set())
        assert [event.trials for event in snapshot.members] == ([[], [0]] if split == "validation" else [[0]])


def test_what_stands_on_a_damaged_shard_is_run_again(sweep: Sweep, tmp_path: Path) -> None:
    """An earlier attack run anew may break other images: what came after it no longer fits."""
    with _record(tmp_path, sweep, [Row((0, 0, 0, 0))], random.Random(0)) as opened:
        trial = opened.trial(0)
        plan = Plan.of(sweep.judge, str(trial.weights), "validation", shard_size=IMAGES)
        folder = plan.folder(opened.judgements(0))
        rows = plan.shard(0).astype(np.int32)
        for attack, standing in ((CLEAN, rows), ("apgd-ce", rows[1:]), ("apgd-t", rows[1:])):
            broken = standing == rows[0]
            labels = np.zeros(len(standing), np.int16)
            predicted = broken.astype(np.int16)
            correct = 1 - broken.astype(np.float32)
            write_shard(folder, Shard(attack, 0, standing, labels, predicted, broken, correct, {"seconds": 1.0}))
        assert set(Judgement(trial, plan, folder).broken) == {(CLEAN, 0), ("apgd-ce", 0), ("apgd-t", 0)}
        shard_path(folder, "apgd-ce", 0).write_bytes(b"damaged")
        assert set(Judgement(trial, plan, folder).broken) == {(CLEAN, 0)}
        assert Judgement(trial, plan, folder).ready() == ("apgd-ce", 0)
        label, correct = np.zeros(len(rows) - 1, np.int16), np.ones(len(rows) - 1, np.float32)
        broken = rows[1:] == rows[2]
        write_shard(folder, Shard("apgd-ce", 0, rows[1:], label, label, broken, correct, {"seconds": 1.0}))
        assert set(Judgement(trial, plan, folder).broken) == {(CLEAN, 0), ("apgd-ce", 0)}
        assert Judgement(trial, plan, folder).ready() == ("apgd-t", 0)


points = st.dictionaries(
    st.integers(0, 20), st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.integers(0, 3)}), max_size=9
)


@given(points=points, seed=st.integers(0, 2**16), modes=st.sampled_from([("max", "max"), ("max", "min")]))
def test_non_dominated_is_brute_force_in_any_order(
    points: dict[int, dict[str, float]], seed: int, modes: tuple[str, str]
) -> None:
    objectives = dict(zip("ab", modes, strict=True))
    order = list(points.items())
    random.Random(seed).shuffle(order)
    expected = {n for n, p in points.items() if not any(dominates(q, p, objectives) for q in points.values())}
    assert set(non_dominated(dict(order), objectives)) == expected


@pytest.fixture
def counting_source() -> Any:
    """Digits that say when their test images are read."""

    @registry.register
    class Counting(Digits):
        name: Literal["counting"] = "counting"  # type: ignore[assignment]
        reads: ClassVar[list[str]] = []

        def read(self, split: Literal["train", "test"]) -> Images:
            type(self).reads.append(split)
            return super().read(split)

    _rebuild()
    yield Counting
    del registry._PARTS["data"]["counting"]
    _rebuild()


def _rebuild() -> None:
    from robustray.judge import Judge

    for model in (Judge, TrialConfig, Sweep):
        model.model_rebuild(force=True)


def test_no_test_image_is_read_before_members_are_fixed(
    counting_source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a whole sweep: training, validation, judging, pruning. After the members event test is read."""
    at_fixing: list[list[str]] = []
    fix = Record.fix_members

    def watched(self: Record, *arguments: Any) -> Any:
        at_fixing.append(list(counting_source.reads))
        return fix(self, *arguments)

    monkeypatch.setattr(Record, "fix_members", watched)
    text = SPACE.replace("name: digits", "name: counting")
    folder = tmp_path / "small"
    assert run_quietly(small_sweep(tmp_path, "search.trials=3", text=text), folder)
    assert len(at_fixing) == 1
    assert "train" in at_fixing[0]
    assert "test" not in at_fixing[0]
    assert "test" in counting_source.reads
    snapshot = record.read(folder)
    assert {n for n, split in snapshot.judged if split == "test"} == set(snapshot.members[0].opened)
