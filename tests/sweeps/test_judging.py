"""The frontier of what was judged is the frontier of everything, and test is read once, last."""

from __future__ import annotations

import random
import tempfile
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
from robustray.evaluation.plan import Plan
from robustray.trial import TrialConfig
from robustray.verdicts import CLEAN, Shard, shard_path, write_shard
from sweeps import record
from sweeps.frontier import dominates, non_dominated
from sweeps.judgement import Judgement
from sweeps.judging import Judging
from sweeps.progress import Console
from sweeps.queues import DONE, WAIT, Job
from sweeps.record import Record
from sweeps.space import Sweep
from tests.sweeps.small import SPACE, run_quietly, small_sweep

IMAGES = 10
ATTACKS = ("apgd-ce", "apgd-t", "square")
Table = list[list[int]]  # a row per trial: clean errors, then images broken by each attack in turn
TEXT = SPACE.replace("[apgd-ce]", "[apgd-ce, apgd-t, square]").replace(
    "{validation: 60, test: 80}", f"{{validation: {IMAGES}, test: {IMAGES}}}"
)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return small_sweep(tmp_path_factory.mktemp("space"), text=TEXT)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Integer verdict tables, full of ties and duplicates: few images, few outcomes."""
    rows = draw(st.integers(1, 7))
    table = []
    for _ in range(rows):
        row, left = [], IMAGES
        for _ in range(1 + len(ATTACKS)):
            row.append(draw(st.integers(0, min(left, 4))))
            left -= row[-1]
        table.append(row)
    return table


class FakePlace:
    """Answers judge jobs from a table, several in flight, ending in any order. Everything else is real."""

    def __init__(self, table: Table, chance: random.Random, slots: int) -> None:
        self.table = table
        self.chance = chance
        self.slots = slots
        self.ran: list[tuple[int, str, str, int]] = []

    def run(self, judging: Judging) -> None:
        flying: list[Job] = []
        while True:
            job = judging.next() if len(flying) < self.slots else WAIT
            if isinstance(job, Job):
                assert len(flying) < self.slots
                flying.append(job)
                continue
            if job is DONE:
                assert not flying
                return
            assert flying, "waiting for nothing"
            landed = flying.pop(self.chance.randrange(len(flying)))
            work = landed.work
            self.ran.append((landed.number, work["split"], work["attack"], work["shard"]))
            attack = (CLEAN, *ATTACKS).index(work["attack"])
            # the first shard loses everything there is to lose, the second nothing
            broken = self.table[landed.number][attack] if work["shard"] == 0 else 0
            judging.finish(landed, "complete", {"broken": broken, "seconds": 1.0}, None)


def _record(folder: Path, sweep: Sweep, table: Table, chance: random.Random) -> Record:
    opened = Record(folder, sweep.objectives)
    opened.setting("shard_size", IMAGES - 2)  # two shards, unequal
    for number in range(len(table)):
        trial = opened.study.ask()
        opened.issue(trial, {})
        cheap = {"clean_accuracy": chance.random(), "robust_accuracy": chance.random()}  # worthless guesses
        opened.finish(number, "complete", metrics=cheap, weights=f"{number:064x}")
    return opened


def _full(table: Table) -> dict[int, dict[str, float]]:
    return {
        number: {"clean_accuracy": (IMAGES - row[0]) / IMAGES, "robust_accuracy": (IMAGES - sum(row)) / IMAGES}
        for number, row in enumerate(table)
    }


def _brute_force(points: dict[int, dict[str, float]]) -> list[int]:
    def better(a: dict[str, float], b: dict[str, float]) -> bool:
        return all(a[k] >= b[k] for k in a) and any(a[k] > b[k] for k in a)

    return [n for n, p in points.items() if not any(better(q, p) for q in points.values())]


@settings(max_examples=40, deadline=None)
@given(table=tables(), seed=st.integers(0, 2**16), slots=st.integers(1, 4))
def test_the_pruned_frontier_is_the_full_one(sweep: Sweep, table: Table, seed: int, slots: int) -> None:
    """On random integer tables with ties and duplicates, results in any order, several jobs at a time."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), sweep, table, chance) as opened:
        place = FakePlace(table, chance, slots)
        place.run(Judging(sweep, opened, Console(lambda line: None), threads=1, session="one", training=lambda: False))
        snapshot = opened.snapshot()
        expected = _brute_force(_full(table))
        assert snapshot.members[-1].trials == sorted(expected)
        for number, skipped in snapshot.skipped.items():
            assert number not in expected
            dominator = _full(table)[skipped.dominator]
            assert dominates(dominator, _full(table)[number], sweep.objectives)
            assert (skipped.dominator, "validation") in snapshot.judged
        for number in range(len(table)):
            assert ((number, "validation") in snapshot.judged) != (number in snapshot.skipped)
        for (number, split), judged in snapshot.judged.items():
            assert judged.robust == IMAGES - sum(table[number])
            assert judged.clean_correct == IMAGES - table[number][0]
            assert split == "validation" or number in expected
        assert {n for n, split in snapshot.judged if split == "test"} == set(expected)
        assert len(place.ran) == len(set(place.ran)), "nothing is run twice"
        assert not any(split == "test" and number not in expected for number, split, _, _ in place.ran)


@settings(max_examples=15, deadline=None)
@given(table=tables(), seed=st.integers(0, 2**16))
def test_judging_all_leaves_nobody_out(sweep: Sweep, table: Table, seed: int) -> None:
    chance = random.Random(seed)
    every = sweep.model_copy(update={"judge": sweep.judge.model_copy(update={"trials": "all"})})
    with tempfile.TemporaryDirectory() as folder, _record(Path(folder), sweep, table, chance) as opened:
        FakePlace(table, chance, 2).run(
            Judging(every, opened, Console(lambda line: None), threads=1, session="one", training=lambda: False)
        )
        snapshot = opened.snapshot()
        assert {n for n, split in snapshot.judged if split == "validation"} == set(range(len(table)))
        assert snapshot.members[-1].trials == sorted(_brute_force(_full(table)))


def test_a_trial_that_cannot_be_judged_stays_off_the_frontier_and_the_rest_goes_on(
    sweep: Sweep, tmp_path: Path
) -> None:
    chance = random.Random(0)
    table = [[0, 0, 0, 0], [1, 1, 1, 1]]  # the first would dominate
    with _record(tmp_path, sweep, table, chance) as opened:
        judging = Judging(sweep, opened, Console(lambda line: None), threads=1, session="one", training=lambda: False)
        while (job := judging.next()) is not DONE:
            assert isinstance(job, Job)
            if job.number == 0:
                judging.finish(job, "failed", {"cause": "no whole checkpoint"}, None)
            else:
                judging.finish(job, "complete", {"broken": 0, "seconds": 0.1}, None)
        snapshot = opened.snapshot()
        assert snapshot.members[-1].trials == [1]
        assert "no whole checkpoint" in snapshot.unjudged[0, "validation"]


def test_a_failed_test_judgement_changes_no_frontier_and_is_tried_again(sweep: Sweep, tmp_path: Path) -> None:
    table = [[0, 1, 0, 0], [1, 1, 1, 1]]  # the first dominates
    with _record(tmp_path, sweep, table, random.Random(0)) as opened:

        def life(fails: bool) -> None:
            judging = Judging(sweep, opened, Console(lambda line: None), threads=1, session="x", training=lambda: False)
            while (job := judging.next()) is not DONE:
                assert isinstance(job, Job)
                if fails and job.work["split"] == "test":
                    judging.finish(job, "failed", {"cause": "a passing fault"}, None)
                    continue
                attack = (CLEAN, *ATTACKS).index(job.work["attack"])
                broken = table[job.number][attack] if job.work["shard"] == 0 else 0
                judging.finish(job, "complete", {"broken": broken, "seconds": 0.1}, None)

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
    with _record(tmp_path, sweep, [[0, 0, 0, 0]], random.Random(0)) as opened:
        judging = Judging(sweep, opened, Console(lambda line: None), threads=1, session="x", training=lambda: False)
        first, second = judging.next(), judging.next()
        assert isinstance(first, Job)
        assert isinstance(second, Job)
        judging.finish(first, "failed", {"cause": "full device"}, None)
        judging.finish(second, "complete", {"broken": 0, "seconds": 0.1}, None)
        assert judging.next() is DONE
        assert opened.snapshot().members[-1].trials == []


def test_what_stands_on_a_damaged_shard_is_run_again(sweep: Sweep, tmp_path: Path) -> None:
    """An earlier attack run anew may break other images: what came after it no longer fits."""
    with _record(tmp_path, sweep, [[0, 0, 0, 0]], random.Random(0)) as opened:
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
    from robustray.trial import Judge

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
