"""A grid goes through every setting once, in order, and ends; where there is no end of values it says how to give it one."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustray.errors import UserError
from sweeps import dry_run
from sweeps.events import Event, Said
from sweeps.record import Record
from sweeps.search.controller import Controller
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep, grids, templates
from sweeps.space.distributions import Distribution
from tests.sweeps.small import SPACE, facts, run_quietly, small_sweep

GRID = SPACE.replace("search: {sampler: random, trials: 5, seed: 3}", "search: {sampler: grid, points: 3}")
FINITE = GRID.replace("epochs: 3, lr: {loguniform: [0.05, 0.5]}", "epochs: {int: [1, 2]}, lr: 0.1")


def drawn(sweep: Sweep, folder: Path, stop_after: int = 10_000) -> tuple[list[dict[str, object]], list[str]]:
    """The settings that a controller hands out, with a new controller after every few, and what it says at the end."""
    said: list[str] = []

    def heard(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.line)

    found: list[dict[str, object]] = []
    with Record(folder, sweep.objectives) as record:
        while len(found) < stop_after:
            controller = Controller(sweep, record, first_in_first_out, heard, session="one")
            numbers = [number for number in islice(iter(controller.draw, None), 3) if number is not None]
            found += [dict(record.trial(number).params) for number in numbers]
            if len(numbers) < 3:
                break
    return found, said


def test_a_grid_goes_through_every_setting_once_and_ends(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, text=GRID)
    assert sweep.wanted == sweep.trials == (3 + 1 + 1) * 3
    found, said = drawn(sweep, tmp_path / "record")
    assert found == [templates.nth(sweep.settings, index) for index in range(15)]
    betas = sorted({float(str(p["defense.trades.beta"])) for p in found if p["defense"] == "trades"})
    assert betas == pytest.approx([0.1, math.sqrt(2), 20])
    assert len({sweep.trial_config(params).to_yaml() for params in found}) == 15
    assert said == ["all 15 settings tried: no more trials, though 15 were asked for"]


def test_an_interrupted_grid_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    """A driver that begins anew over the record of fewer trials: the rest, and nothing twice."""
    few, all_of_them = (small_sweep(tmp_path, *more, text=FINITE) for more in (["search.trials=4"], []))
    short, whole = tmp_path / "short", tmp_path / "whole"
    assert run_quietly(few, short)
    assert len(facts(short)["trials"]) == 4
    assert run_quietly(all_of_them, short)
    assert run_quietly(all_of_them, whole)
    assert facts(short)["trials"] == facts(whole)["trials"]
    assert len(facts(whole)["trials"]) == 10


def test_more_trials_than_settings_end_or_replicate(tmp_path: Path) -> None:
    asked = ["search.trials=20"]
    assert small_sweep(tmp_path, *asked, text=GRID).wanted == 15
    assert small_sweep(tmp_path, *asked, "search.duplicates=replicate", text=GRID).wanted == 20


def test_the_order_is_that_of_a_dry_run(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, text=GRID)
    assert [params for params, _ in dry_run.first_trials(sweep, 5)] == [
        templates.nth(sweep.settings, index) for index in range(5)
    ]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (["search.points=null"], r"search.sampler: grid goes through all values, but trial.defense.trades.beta is a number .*"
                                 r", as 1 more are; .*search.points: \{defense.trades.beta: 5\}"),
        (["search.points={schedule.lr: 3}"], "search.sampler: grid goes through .* trial.defense.trades.beta is"),
        (["search.points={schedule.rl: 3}"], "search.points.schedule.rl: no such searched number; did you mean 'schedule.lr'"),
        (["search.points={defense: 3}"], "search.points.defense: is a choice"),
        (["search.points=1"], "search.points.*at least 2"),
        (["search.points=1000000000000"], "search.points.*at most 10000"),
        (["search.points={schedule.lr: 1000000000000}"], "search.points.*at most 10000"),
        (["search.sampler=tpe"], "search.points: only a grid has points of its options; sampler tpe"),
    ],
)  # fmt: skip
def test_a_grid_without_an_end_is_one_clear_line(changed: list[str], line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=line):
        small_sweep(tmp_path, *changed, text=GRID)


@given(
    kind=st.sampled_from(["uniform", "loguniform", "int", "logint"]),
    low=st.integers(1, 1000),
    span=st.integers(1, 10_000),
    count=st.integers(2, 40),
)
def test_points_are_of_the_distribution_ascend_and_hold_both_ends(kind: str, low: int, span: int, count: int) -> None:
    distribution = Distribution.parse(kind, [low, low + span])  # type: ignore[arg-type]
    found = grids.points(distribution, count)
    assert found[0] == low
    assert found[-1] == low + span
    assert [distribution.checked(value) for value in found] == sorted(found)  # type: ignore[type-var]
    assert len(found) == count if not distribution.is_int else len(found) <= min(count, span + 1)


@given(low=st.floats(1e-8, 1), ratio=st.floats(2, 1e8), count=st.integers(3, 20))
def test_points_of_a_logarithm_are_a_geometric_sequence(low: float, ratio: float, count: int) -> None:
    found = grids.points(Distribution.parse("loguniform", [low, low * ratio]), count)
    steps = [float(b) / float(a) for a, b in pairwise(found)]  # type: ignore[arg-type]
    assert steps == pytest.approx([ratio ** (1 / (count - 1))] * (count - 1), rel=1e-6)


def test_an_old_sweep_has_the_trials_it_had(tmp_path: Path) -> None:
    """Where nobody says how many, a sampler that draws has as many as before, under the same hash."""
    plain = small_sweep(tmp_path, text=SPACE.replace("trials: 5, ", ""))
    assert plain.trials == 24
    assert plain.space_hash == small_sweep(tmp_path, "search.trials=24", text=SPACE).space_hash
