"""Settings near the frontier are trained again with other seeds, in the second half of a search."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.frontier import minimised, undominated
from sweeps.record import Issued, Judged, Outcome, Record, Skipped, Snapshot, TrialRecord
from sweeps.running.queues import DONE, End, Job
from sweeps.search import replicating
from sweeps.search.controller import Controller
from sweeps.search.replicates import Replicates
from sweeps.search.replicating import PRIOR_SD, PRIOR_WEIGHT
from sweeps.search.stopping import first_in_first_out
from tests.sweeps import replicated
from tests.sweeps.replicated import Standing
from tests.sweeps.small import small_sweep

TWO = {"clean_accuracy": "max", "robust_accuracy": "max"}
COSTS = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}


def _snapshot(rows: Sequence[tuple[Mapping[str, float], int | None]], objectives: Mapping[str, str]) -> Snapshot:
    trials = [
        TrialRecord(n, {}, "complete", dict(values), replicate_of=of, origin="sampled" if of is None else "replicate")
        for n, (values, of) in enumerate(rows)
    ]
    return Snapshot(dict(objectives), trials, {}, {}, {}, (), {})


def test_the_spread_of_seeds_is_pooled_over_settings_and_shrunk_to_what_is_usual() -> None:
    objectives = {"clean_accuracy": "max", "cost_seconds": "min"}
    values = [(0.5, 10.0), (0.8, 20.0), (0.54, 13.0), (0.8, 20.0), (0.9, 7.0)]
    of = [None, None, 0, 1, None]
    rows = [(dict(zip(objectives, pair, strict=True)), first) for pair, first in zip(values, of, strict=True)]
    sd = replicated.seed_sd(_snapshot(rows, objectives))
    assert sd[0] == pytest.approx(math.sqrt((PRIOR_WEIGHT * PRIOR_SD**2 + 2 * 0.02**2) / (PRIOR_WEIGHT + 2)))
    assert sd[1] == pytest.approx(math.sqrt(2 * 1.5**2 / 2))
    alone = replicated.seed_sd(_snapshot([row for row in rows if row[1] is None], objectives))
    assert alone.tolist() == pytest.approx([PRIOR_SD, 0.0])


@pytest.mark.parametrize(("gap", "seeds"), [(0.0, (1, 1)), (0.01, (1, 1)), (0.01, (3, 1)), (0.015, (4, 4))])
def test_of_two_settings_the_better_one_is_so_with_the_probability_of_the_normal_law(
    gap: float, seeds: tuple[int, int]
) -> None:
    standing = [
        Standing(0, {"clean_accuracy": 0.8 + gap}, seeds[0], 1),
        Standing(1, {"clean_accuracy": 0.8}, seeds[1], 1),
    ]
    found = replicated.nondominated(standing, {"clean_accuracy": "max"}, np.array([0.01]), seed=3)
    expected = NormalDist().cdf(gap / (0.01 * math.sqrt(1 / seeds[0] + 1 / seeds[1])))
    assert found[0] == pytest.approx(expected, abs=0.1)
    assert found[0] + found[1] == pytest.approx(1)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_without_noise_the_frontier_is_sure_and_so_is_all_else(rows: list[tuple[int, int]]) -> None:
    standing = [Standing(n, {"clean_accuracy": a / 5, "robust_accuracy": b / 5}, 1, 1) for n, (a, b) in enumerate(rows)]
    front = undominated(minimised([each.values for each in standing], TWO))
    found = replicated.nondominated(standing, TWO, np.zeros(2), seed=0)
    assert [found.get(n, 0.0) for n in range(len(rows))] == front.astype(float).tolist()


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=2, max_size=12), st.integers(0, 3))
def test_what_is_left_out_bears_on_nobody(rows: list[tuple[int, int]], seed: int) -> None:
    """A setting far below the frontier changes no probability, and has none."""
    standing = [
        Standing(n, {"clean_accuracy": 0.5 + a / 100, "robust_accuracy": b / 100}, 1, 1)
        for n, (a, b) in enumerate(rows)
    ]
    sd = np.array([0.01, 0.01])
    alone = replicated.nondominated(standing, TWO, sd, seed=seed)
    far = Standing(99, {"clean_accuracy": 0.1, "robust_accuracy": -0.5}, 1, 1)
    assert replicated.nondominated([*standing, far], TWO, sd, seed=seed) == {**alone, 99: 0.0}
    assert max(alone.values()) > 0


def test_one_trial_in_three_is_a_replicate_once_half_is_spent() -> None:
    replicates, turns = 0, []
    for spent in range(60):
        if replicating.due(replicates, spent=spent, budget=60):
            replicates += 1
            turns.append(spent)
    assert turns == list(range(32, 60, 3))


def test_the_fewest_seeds_come_first_and_enough_are_enough() -> None:
    front = [
        ({"clean_accuracy": 0.9, "robust_accuracy": 0.3}, None),
        ({"clean_accuracy": 0.6, "robust_accuracy": 0.6}, None),
    ]
    beaten = ({"clean_accuracy": 0.5, "robust_accuracy": 0.2}, None)
    rows: list[tuple[Mapping[str, float], int | None]] = [beaten, *front]
    chosen = []
    while (first := replicated.next_replicate(_snapshot(rows, TWO), 3, spent=100, budget=100, seed=1)) is not None:
        chosen.append(first)
        rows.append((rows[first][0], first))
    assert Counter(chosen) == {1: 2, 2: 2}, "three seeds of each that is on the frontier, and none of what is dominated"
    assert sorted(chosen[:2]) == [1, 2]
    assert replicated.next_replicate(_snapshot(rows[:3], TWO), 0, spent=100, budget=100, seed=1) is None


OUTCOMES: tuple[Outcome, ...] = ("complete", "complete", "complete", "failed")


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_what_is_kept_up_says_what_the_record_says(chance: Random, wanted: int) -> None:
    """Trials that begin, end, are judged, skipped and flagged in any order: after each the choice is that of the definition."""
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder), TWO) as record:
        kept = Replicates(record, wanted)
        open_ = list[int]()
        for step in range(30):
            complete = [trial.number for trial in record.trials() if trial.outcome == "complete"]
            what = chance.random()
            if what < 0.45 or not (open_ or complete):
                first = None if not complete or chance.random() < 0.5 else record.trial(chance.choice(complete)).setting
                origin, parents = ("sampled", ()) if first is None else ("replicate", (first,))
                number = record.issue(Issued({"x": step}, seed=step, origin=origin, parents=parents))  # type: ignore[arg-type]
                open_.append(number)
            elif what < 0.85 and open_:
                number = open_.pop(chance.randrange(len(open_)))
                outcome = chance.choice(OUTCOMES)
                values = {name: chance.randint(30, 36) / 40 for name in TWO} if outcome == "complete" else {}
                record.finish(number, outcome, metrics=values)
            elif complete:
                number, images = chance.choice(complete), 40
                flags = ("randomised",) if chance.random() < 0.2 else ()
                judged = Judged(
                    images, chance.randint(30, 36), chance.randint(30, 36), "standard", True, "", 1.0, flags
                )
                if what < 0.9:
                    record.skip(number, Skipped(None, "apgd-ce", chance.randint(28, 34), 34, images))
                else:
                    record.judge(number, chance.choice(["validation", "test"]), judged)
            else:
                continue
            kept.look(number)
            snapshot, asked = record.snapshot(), {"spent": 90.0 + step, "budget": 100.0, "seed": step}
            expected = replicated.next_replicate(snapshot, wanted, **asked)  # type: ignore[arg-type]
            assert kept.next(**asked) == expected  # type: ignore[arg-type]
            assert Replicates(record, wanted).next(**asked) == expected  # type: ignore[arg-type]


def _searched(folder: Path, *overrides: str, lives: int) -> list[TrialRecord]:
    """A search without training, in a new life after so many trials."""
    sweep, done = small_sweep(folder.parent, *overrides), None
    while done is not DONE:
        with Record(folder, sweep.objectives) as record:
            controller = Controller(sweep, record, first_in_first_out, lambda event: None, session="one")
            for _ in range(lives):
                job = controller.next()
                if not isinstance(job, Job):
                    done = job
                    break
                trial = record.trial(job.number)
                lr, luck = float(trial.params["schedule.lr"]), (trial.seed or 0) % 7 / 1000
                accuracies = {"clean_accuracy": lr + luck, "robust_accuracy": 0.6 - lr + luck}
                controller.finish(job, End("complete", None, {**accuracies, **COSTS}))
            trials = list(record.trials())
    return trials


def test_a_search_trains_again_what_may_be_on_the_frontier_and_so_it_does_after_a_restart(tmp_path: Path) -> None:
    options = ("search.trials=18", "search.replicates=2")
    trials = _searched(tmp_path / "one" / "small", *options, lives=100)
    again = [trial for trial in trials if trial.origin == "replicate"]
    assert [trial.number for trial in again] == [11, 14, 17]
    assert len({trial.setting for trial in again}) == 3, "two seeds each"
    assert all(trial.params == trials[trial.setting].params for trial in again)
    assert all(trial.seed is not None for trial in again)
    restarted = _searched(tmp_path / "two" / "small", *options, lives=5)
    assert [(t.params, t.origin, t.seed) for t in restarted] == [(t.params, t.origin, t.seed) for t in trials]
    assert not any(
        trial.origin == "replicate" for trial in _searched(tmp_path / "no" / "small", "search.trials=24", lives=99)
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("search.sampler=tpe", "search.trials=48"), 3),
        (("search.sampler=tpe", "search.trials=47"), 0),
        (("search.sampler=random", "search.trials=48"), 0),
        (("search.sampler=random", "search.trials=5", "search.replicates=2"), 2),
        (("search.sampler=tpe", "search.trials=48", "search.replicates=0"), 0),
        (
            (
                "search.sampler=tpe",
                "search.trials=48",
                "trial.schedule.lr=0.1",
                "trial.defense={choice: [trades, natural]}",
            ),
            0,
        ),
    ],
)
def test_what_auto_means(tmp_path: Path, overrides: tuple[str, ...], expected: int) -> None:
    sweep = small_sweep(tmp_path, *overrides)
    with Record(tmp_path / "small", sweep.objectives) as record:
        assert replicating.wanted(sweep, record) == expected


def test_a_search_that_was_begun_without_goes_on_without(tmp_path: Path) -> None:
    _searched(tmp_path / "small", "search.trials=5", lives=99)
    more = small_sweep(tmp_path, "search.sampler=tpe", "search.trials=60")
    with Record(tmp_path / "small", more.objectives) as record:
        assert replicating.wanted(more, record) == 0
        asked = small_sweep(tmp_path, "search.replicates=3")
        assert replicating.wanted(asked, record) == 3
        plain = small_sweep(tmp_path)
    assert asked.space_hash == plain.space_hash
