"""What is tried first: settings picked by hand, the mode of priors, published defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustray.errors import UserError
from sweeps import record
from sweeps.dry_run import first_trials
from sweeps.record import Record
from sweeps.running.queues import Job
from sweeps.search.controller import Controller
from sweeps.search.first import POINTS, First, points
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from tests.sweeps.small import small_sweep

TRADES, MART = "{name: trades, beta: {loguniform: [0.1, 20]}}", "{name: mart, beta: {uniform: [7, 9]}}"
DEFENSES = f"trial.defense={{choice: [natural, {TRADES}, {MART}]}}"
PICKED = "search.points=[{defense.trades.beta: 1/2}, {schedule.lr: 0.3}]"
TPE = "search.sampler=tpe"


def tpe(folder: Path, *overrides: str) -> Sweep:
    return small_sweep(folder, DEFENSES, TPE, *overrides)


def drawn(folder: Path, sweep: Sweep, count: int) -> list[dict[str, Any]]:
    with Record(folder, sweep.objectives) as opened:
        controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
        for _ in range(count):
            assert controller.draw() is not None
        return [dict(trial.params) for trial in opened.trials()]


def test_published_is_every_defense_with_its_defaults_or_the_middle_of_its_range(tmp_path: Path) -> None:
    found = points(tpe(tmp_path, "search.first=published"))
    assert [each["defense"] for each in found] == ["natural", "trades", "mart"]
    assert found[1]["defense.trades.beta"] == 6.0  # Trades.beta
    assert found[2]["defense.mart.beta"] == 8.0  # 5 or 6 is outside
    assert all(each["schedule.lr"] == tpe(tmp_path).completed({})["schedule.lr"] for each in found)


@pytest.mark.parametrize("threat", ["{eps: {uniform: [0.02, 0.3]}}", "{norm: linf, eps: {stepped: [0.02, 0.3, 0.02]}}"])
def test_published_is_training_against_what_is_judged(threat: str, tmp_path: Path) -> None:
    sweep = tpe(tmp_path, "search.first=published", f"trial.threat={threat}", "judge.threat={eps: 0.12}")
    assert [sweep.trial_config(each).training_threat.eps for each in points(sweep)][1:] == [0.12, 0.12]
    elsewhere = tpe(tmp_path, "search.first=published", f"trial.threat={threat}", "judge.threat={eps: 0.5}")
    assert points(elsewhere)[1]["threat.eps"] == pytest.approx(0.16)  # the middle: what is judged cannot be had


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "gp", "qmc", "random"])
def test_a_sampler_that_is_named_begins_as_before(sampler: str, tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path, DEFENSES, f"search.sampler={sampler}")
    assert points(sweep) == []
    with Record(tmp_path / "record", sweep.objectives) as opened:
        First(sweep, opened)
        assert opened.setting(POINTS) is None


def test_the_mode_of_priors_comes_after_what_was_picked_and_before_what_is_published(tmp_path: Path) -> None:
    sweep = tpe(tmp_path, PICKED, "search.first=published", "trial.schedule.lr={loguniform: [0.05, 0.5], prior: 0.1}")
    found = points(sweep)
    assert found[0] == {"defense": "trades", "defense.trades.beta": 0.5, "schedule.lr": 0.1}
    assert found[1] == {"defense": "natural", "schedule.lr": 0.3}
    assert found[2] == {"defense": "natural", "schedule.lr": 0.1}
    assert [each["defense"] for each in found[3:]] == ["trades", "mart"]  # natural at its defaults is there already
    assert all(sweep.trial_config(each) for each in found)


def test_a_choice_is_of_what_is_given_else_of_priors(tmp_path: Path) -> None:
    prior = "trial.defense.choice.2.beta={uniform: [7, 9], prior: 7.5}"
    sweep = tpe(tmp_path, prior)
    assert points(sweep) == [sweep.completed({})]
    assert sweep.completed({})["defense.mart.beta"] == 7.5
    assert sweep.completed({"defense.trades.beta": 1.0})["defense"] == "trades"
    assert sweep.completed({"defense": "natural"}) == {
        "defense": "natural",
        "schedule.lr": sweep.completed({})["schedule.lr"],
    }


def test_points_are_tried_first_in_order_and_count(tmp_path: Path) -> None:
    sweep = tpe(tmp_path / "space", PICKED, "search.trials=4")
    wanted = points(sweep)
    assert drawn(tmp_path / "record", sweep, 4)[:2] == wanted
    assert [params for params, _ in first_trials(sweep, 2)] == wanted
    trials = record.read(tmp_path / "record").trials
    assert [trial.origin for trial in trials] == ["sampled"] * 4
    assert not any(trial.params in wanted for trial in trials[2:])


def test_points_are_written_down_as_the_sweep_begins(tmp_path: Path) -> None:
    """Whatever would come first by now, a sweep that has begun goes on as it began; one of before has none."""
    sweep = tpe(tmp_path / "space", "search.first=published", "search.trials=5")
    later = tpe(tmp_path / "space", "search.first=none", "search.trials=5")
    assert later.space_hash == sweep.space_hash
    whole = drawn(tmp_path / "whole", sweep, 5)
    assert drawn(tmp_path / "killed", sweep, 1) == whole[:1]
    assert drawn(tmp_path / "killed", later, 4) == whole
    old = drawn(tmp_path / "old", later, 2)
    assert drawn(tmp_path / "old", sweep, 3) == drawn(tmp_path / "fresh", later, 5)
    assert old[0] != whole[0]


def test_a_point_that_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    """Two points that differ in nothing that a trial looks at are one setting: the sampler has the second one's turn."""
    sweep = small_sweep(
        tmp_path, "trial.defense={choice: [natural, trades]}", TPE, "search.trials=2", "trial.schedule.lr=0.1"
    )
    with Record(tmp_path / "record", sweep.objectives) as opened:
        twice = [{"defense": "natural"}, {"defense": "natural"}]
        opened.setting(POINTS, twice)
        controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
        assert isinstance(controller.next(), Job)
        assert isinstance(controller.next(), Job)
        assert [trial.params["defense"] for trial in opened.trials()] == ["natural", "trades"]


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ("[{defense.trades.beta: 60}]", "points.0.defense.trades.beta: must be a number from 0.1 to 20, not 60"),
        ("[{}, {defense.trades.betta: 6}]", "points.1.defense.trades.betta: no such searched option; did you mean"),
        ("[{defense: natural, defense.trades.beta: 6}]", "exists only when defense is 'trades', and the point has 'natural'"),
        ("[{defense.mart.beta: 8, defense.trades.beta: 6}]", "only when defense is 'mart', and defense.trades.beta when"),
        ("[{defense: trades}, {defense.trades.beta: 6}]", "points.1: is the setting of points.0 again"),
        ("[3]", "points.0: must be a mapping of searched options to values, not 3"),
        ("[{defense: [trades]}]", "points.0.defense: must be a value, not a list"),
        ("5", "only a grid has points of its options"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_point_is_one_line_with_its_place(points: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        tpe(tmp_path, f"search.points={points}")
    assert says in str(error.value)
    assert "search.points" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("search.points=[{}]", "search.points: a grid goes through all its settings"),
        ("search.first=published", "search.first: is nothing to a grid"),
        ("search.warm_start=[results/x]", "search.warm_start: is nothing to a grid"),
    ],
)
def test_a_grid_has_no_first_points(override: str, says: str, tmp_path: Path) -> None:
    space = ("trial.defense={choice: [natural, trades]}", "trial.schedule.lr=0.1", "search.sampler=grid")
    with pytest.raises(UserError, match=says):
        small_sweep(tmp_path, *space, override)


def test_a_space_with_points_reads_back_the_same(tmp_path: Path) -> None:
    sweep = tpe(tmp_path, PICKED)
    assert Sweep.model_validate(sweep.resolved()).search == sweep.search
    assert Sweep.model_validate(sweep.resolved()).space_hash == sweep.space_hash
