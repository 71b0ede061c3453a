"""Attacks begun ahead of their turn: never another verdict, and every stage has its turn."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.judge import Judge
from robustray.judging import shard_size, turns
from robustray.judging.bench import Bench
from robustray.judging.plan import Plan
from robustray.judging.stage import judge_shard
from robustray.verdicts import CLEAN, Shard, read_shard, write_shard
from tests.robustray.judged import Command, contents, learned, written
from tests.robustray.made import JUDGE

ATTACKS = ("apgd-ce", "fab-t", "square")
IMAGES = 30


def plan(*, shards: int = 1, version: object = "standard") -> Plan:
    made = Plan.of(Judge.model_validate(JUDGE | {"version": version}), "weights", "validation", shard_size=IMAGES)
    return replace(made, rows=np.arange(shards * IMAGES, dtype=np.int64))


def test_only_square_goes_ahead_and_only_of_fab() -> None:
    assert [stage for stage in plan().stages if plan().ahead(stage)] == ["square"]
    assert [stage for stage in plan(version="plus").stages if plan(version="plus").ahead(stage)] == ["square"]
    for version in ("rand", "apgd", ("apgd-ce", "square", "fab-t")):
        assert not any(map(plan(version=version).ahead, plan(version=version).stages))
        assert plan(version=version).workers_per_shard == 1
    assert plan().workers_per_shard == 2


@given(
    st.sampled_from(["standard", "plus", "rand", ("fab-t", "square"), ("fab", "fab-t", "apgd-ce")]),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(0, 10**6),
)
def test_every_stage_has_its_one_turn_in_order_however_long_things_take(
    version: object, shards: int, workers: int, seed: int
) -> None:
    made, chance = plan(shards=shards, version=version), random.Random(seed)
    progress, begun, flying, ahead = [0] * shards, set[turns.Turn](), list[turns.Turn](), set[turns.Turn]()
    started: list[tuple[turns.Turn, bool]] = []
    while flying or min(progress) < len(made.stages):
        ready = turns.ready(made, progress, set(flying), begun)
        assert flying or ready, "nothing would ever happen again"
        for turn in ready[: workers - len(flying)]:
            early = turn[0] > progress[turn[1]]
            assert turn not in flying
            started.append((turn, early))
            flying.append(turn)
            if early:
                assert made.ahead(made.stages[turn[0]])
                begun.add(turn)
                ahead.add(turn)
        ended = flying.pop(chance.randrange(len(flying)))
        if ended in ahead:
            ahead.remove(ended)
        else:
            assert ended[0] == progress[ended[1]]
            progress[ended[1]] += 1
    regular = [turn for turn, early in started if not early]
    assert sorted(regular) == [(p, s) for p in range(len(made.stages)) for s in range(shards)]
    assert len({turn for turn, early in started if early}) == sum(early for _, early in started), "once is enough"


@given(st.integers(1, 5), st.integers(1, 64), st.integers(1, 64))
def test_threads_of_what_works_at_a_time_fit_on_the_cores(shards: int, cpus: int, workers: int) -> None:
    made = plan(shards=shards)
    for stage in made.stages:
        at_a_time = min(workers, shards * (2 if stage in ("fab-t", "square") else 1))
        threads = turns.threads(made, stage, cpus, workers)
        assert threads == 1 or threads * at_a_time <= cpus
        assert (threads + 1) * at_a_time > cpus, "no core is left idle that one thread more could use"


def judged(folder: Path, made: Plan, stage: str, *, ahead: bool = False) -> Shard:
    model, x, y = learned()
    return judge_shard(Bench(model, made, folder), x[:IMAGES], y[:IMAGES], stage, 0, ahead=ahead)


def same(a: Shard, b: Shard) -> bool:
    columns = ("image", "label", "predicted", "broken", "correct")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in columns)


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns")
    for stage in (CLEAN, *ATTACKS):
        judged(folder, plan(version=ATTACKS), stage)
    return folder


@pytest.mark.parametrize("breaks", [0, 2])
def test_verdicts_are_those_of_every_stage_in_its_turn(breaks: int, in_turn: Path, tmp_path: Path) -> None:
    """Also where fab breaks images that square, ahead of it, has looked at as well."""
    made = plan(version=ATTACKS)
    fab, square = read_shard(in_turn, "fab-t", 0), read_shard(in_turn, "square", 0)
    assert fab is not None
    assert square is not None
    standing = fab.image[~fab.broken]
    assert len(standing) > breaks
    broken = fab.broken | np.isin(fab.image, standing[:breaks])
    fab = replace(fab, broken=broken, correct=np.where(broken, 0, fab.correct).astype(fab.correct.dtype))
    for folder, order in (
        (tmp_path / "turns", ("fab-t", "square")),
        (tmp_path / "ahead", ("square", "fab-t", "square")),
    ):
        folder.mkdir()
        for stage in (CLEAN, "apgd-ce"):
            judged(folder, made, stage)
        for at, stage in enumerate(order):
            if stage == "fab-t":
                write_shard(folder, fab)
            else:
                judged(folder, made, stage, ahead=at == 0)
    turns, ahead = (read_shard(tmp_path / name, "square", 0) for name in ("turns", "ahead"))
    assert turns is not None
    assert ahead is not None
    assert same(turns, ahead)
    assert set(ahead.image) == set(fab.image[~fab.broken])
    if not breaks and not fab.broken.any():
        assert same(ahead, square)


def test_work_ahead_is_not_done_twice(in_turn: Path, tmp_path: Path) -> None:
    made = plan(version=ATTACKS)
    for stage in (CLEAN, "apgd-ce"):
        judged(tmp_path, made, stage)
    early = judged(tmp_path, made, "square", ahead=True)
    fab = read_shard(in_turn, "fab-t", 0)
    assert fab is not None
    write_shard(tmp_path, replace(fab, broken=np.zeros_like(fab.broken), correct=np.ones_like(fab.correct)))
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert same(judged(tmp_path, made, "square"), early)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_out_of_turn_without_leave_is_an_error(tmp_path: Path) -> None:
    judged(tmp_path, plan(version=ATTACKS), CLEAN)
    with pytest.raises(RuntimeError, match="square needs the verdicts of apgd-ce"):
        judged(tmp_path, plan(version=ATTACKS), "square")


def test_shards_are_fewer_where_one_keeps_two_workers_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch import nn

    monkeypatch.setattr(shard_size, "_step", lambda model, x: len(x))
    x = torch.zeros(300, 1, 2, 2)
    wanted = replace(plan(), rows=np.arange(300, dtype=np.int64))
    assert [shard_size.shared_out(nn.Identity(), x, 500, wanted, workers) for workers in (1, 2, 3, 4)] == [
        500,
        500,
        150,
        150,
    ]


@pytest.mark.e2e
def test_two_processes_say_what_one_says(command: Command, tmp_path: Path) -> None:
    written(tmp_path)
    asked = ("net.py:make", "--data", "digits", "--eps", "0.1", "--images", "40", "--version", "+".join(ATTACKS))
    two = command.judge(*asked, "--batch", "40", "--device", "cpu,cpu", "--results", "two")
    one = command.judge(*asked, "--batch", "40", "--results", "one")
    assert contents(two.folder, ATTACKS) == contents(one.folder, ATTACKS)
    assert [line for line in two.lines[1:-1] if "total time" not in line] == [
        line for line in one.lines[1:-1] if "total time" not in line
    ]
