"""Searches over tables: regret in closed form, what a piece of training costs, and the command."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from robustray.errors import UserError
from sweeps import record as records
from sweeps.__main__ import app
from sweeps.search.field import Field, Nothing, Resume, Start
from sweeps.search.listed import Listed
from sweeps.search.regret import Finished, Regrets, Truth, cost_to
from sweeps.search.simulated_sweeps import chosen, variants
from sweeps.search.simulation import simulate
from sweeps.search.tabled import Curves, Tabled
from sweeps.search.tables import Table
from sweeps.space import Sweep

SPACE = """
name: curves
judge: {data: digits, threat: {norm: linf, eps: 0.1}}
trial:
  model: {name: small_cnn, width: 1}
  defense: {name: trades, beta: {stepped: [0, 2.4, 0.1]}}
  schedule: {epochs: 10, lr: 0.1}
search: {sampler: random, trials: 12}
stopping: none
"""
EPOCHS = (1, 2, 5, 10)
POINTS = st.lists(st.tuples(*[st.integers(0, 9)] * 2), min_size=1, max_size=8)


def rows(diverged: int | None = None, seeds: int = 2) -> list[dict[str, object]]:
    """25 settings on a line from clean to robust, 2 seeds or more; one may break off after epoch 2."""
    found = []
    for setting in range(25):
        share = setting / 24
        for seed in range(seeds):
            for epoch in EPOCHS:
                if setting == diverged and epoch > 2:
                    continue
                clean, robust = (1 - share**2) * epoch / 10, share * epoch / 10 - 0.001 * seed * share
                accuracies = {"clean_accuracy": clean, "robust_accuracy": max(robust, 0.0)}
                both = ("validation", "test")
                measured = {f"{split}_raw_{name}": value for split in both for name, value in accuracies.items()}
                known = {"setting": setting, "seed": seed, "epoch": epoch, "epochs": 10, "seconds": 2.0 * epoch}
                outcome = "diverged" if setting == diverged else "complete"
                found.append({**known, "outcome": outcome, "defense.beta": round(0.1 * setting, 1), **measured})
    return found


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table and its space, and gives its path."""

    def write(diverged: int | None = None, seeds: int = 2) -> Path:
        (tmp_path / "curves.yaml").write_text(SPACE)
        path = tmp_path / "curves.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(diverged, seeds)))
        return path

    return write


def world(path: Path, *, seed: int = 0, overrides: tuple[str, ...] = ()) -> tuple[Sweep, Tabled]:
    sweep = Sweep.from_yaml(path.with_suffix(".yaml"), overrides=overrides).settled()
    return sweep, Tabled(sweep, Curves.of(Table.read(path, sweep), list(sweep.objectives)), seed)


def test_regret_of_two_points_is_the_area_that_is_lacking() -> None:
    truth = Truth.of(np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]))
    np.testing.assert_allclose(truth.reference, [-0.1, -0.1])
    area = 2 * 1.1 * 0.1 - 0.1**2  # two strips and the corner that they share
    assert truth.best == pytest.approx(area)
    assert truth.regret([0]) == pytest.approx(1 - 0.11 / area)
    assert truth.regret([]) == truth.regret([2]) == 1.0
    assert truth.regret([0, 1]) == 0.0


@given(POINTS, st.randoms(use_true_random=False))
def test_regret_never_rises_and_does_not_ask_in_which_order_equals_came(
    points: list[tuple[int, int]], shuffle: object
) -> None:
    values = np.array(points, dtype=float)
    truth = Truth.of(values)
    trials = [Finished(float(n), n, tuple(values[n])) for n in range(len(values))]
    found = Regrets.of(truth, trials)
    assert (np.diff(found.judged) <= 1e-12).all()
    assert found.judged[0] == 1.0
    assert found.judged[-1] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(found.selected, found.judged, atol=1e-12)  # what is told is true here
    np.testing.assert_array_equal(found.at(np.array([-0.5, 0.0, 0.5]) + len(trials) - 1)[1:], found.judged[[-1, -1]])


def test_a_trial_that_only_seems_good_hides_the_better_one_from_selection() -> None:
    truth = Truth.of(np.array([[1.0, 1.0], [0.5, 0.5], [0.0, 2.0], [2.0, 0.0]]))
    found = Regrets.of(truth, [Finished(1.0, 0, (0.6, 0.6)), Finished(2.0, 1, (0.7, 0.7))])
    assert found.judged[2] == found.judged[1]
    assert found.selected[2] > found.judged[2]


def test_cost_to_a_goal_is_where_the_median_comes_to_it() -> None:
    costs = np.array([0.0, 1.0, 2.0, 3.0])
    regrets = np.array([[1.0, 0.6, 0.2, 0.1]] * 5)
    assert cost_to(regrets, np.array([0.2] * 5), costs).cost == 2.0
    assert cost_to(regrets, np.array([0.05] * 5), costs).cost == math.inf
    reached = cost_to(regrets, np.array([0.2] * 5), costs)
    assert (reached.low, reached.high) == (2.0, 2.0)


@given(wanted=st.lists(st.integers(0, 24), min_size=1, max_size=25))
@settings(max_examples=20)
def test_the_nearest_setting_is_one_that_is_left(wanted: list[int]) -> None:
    sweep = Sweep.model_validate(_plain())
    listed = Listed(sweep.space, sweep.ask, [{"defense.beta": round(0.1 * n, 1)} for n in range(25)])
    taken: set[int] = set()
    for n in wanted:
        found = listed.nearest({"defense.beta": round(0.1 * n, 1)})
        assert found not in taken
        free = [each for each in range(25) if each not in taken]
        assert abs(found - n) == min(abs(each - n) for each in free)
        taken.add(found)
        listed.take(found)
    drawn = listed.random(np.random.default_rng(0), 50)
    if len(taken) < 25:
        assert {listed.place(listed.params(row)) for row in drawn}.isdisjoint(taken)
    else:
        with pytest.raises(ValueError, match="no setting is left"):
            listed.nearest({"defense.beta": 0.0})


def _plain() -> dict[str, object]:
    import yaml

    return dict(yaml.safe_load(SPACE))


def test_pieces_of_a_training_take_what_the_whole_takes_and_two_overheads_more_each(made: Callable[..., Path]) -> None:
    _, table = world(made())
    whole = table.piece(3, 0, 10)
    assert whole.seconds == pytest.approx(20.0 + 2 * 0.1 * 2.0)
    parts = [table.piece(3, 0, 2), table.piece(3, 2, 7), table.piece(3, 7, 10)]
    assert sum(each.seconds for each in parts) == pytest.approx(whole.seconds + 4 * 0.1 * 2.0)
    assert parts[-1].values == whole.values
    assert parts[1].values == table.values(3, 5)  # as it was looked at last
    assert table.whole == pytest.approx(whole.seconds)


def test_a_training_that_breaks_off_ends_where_the_table_has_no_more(made: Callable[..., Path]) -> None:
    _, table = world(made(diverged=4))
    broken = table.piece(4, 0, 10)
    assert broken.values is None
    assert broken.epoch == 5
    assert table.piece(4, 0, 2).values is not None
    assert 4 not in table.truth.members


def test_truth_is_of_the_seeds_that_a_search_does_not_meet(made: Callable[..., Path]) -> None:
    path = made()
    tables = [world(path, seed=seed)[1] for seed in range(2)]
    robust = [each.truth.values[24, 1] for each in tables]
    assert robust == pytest.approx([0.999, 1.0])
    assert [each.values(24, 10)["robust_accuracy"] for each in tables] == pytest.approx([1.0, 0.999])


@pytest.mark.parametrize("workers", [1, 3])
def test_first_in_first_out_pays_for_whole_trainings(made: Callable[..., Path], workers: int, tmp_path: Path) -> None:
    sweep, table = world(made())
    folder = tmp_path / "record"
    trace = simulate(sweep, table, chosen, workers=workers, folder=folder)
    assert trace.started == len(trace.finished) == 12
    assert len({each.setting for each in trace.finished}) == 12
    assert trace.paid == pytest.approx(12 * table.whole)
    ends = sorted(each.cost for each in trace.finished)
    assert ends == pytest.approx([table.whole * (n + workers - n % workers) for n in range(12)])
    assert [trial.outcome for trial in records.read(folder).trials] == ["complete"] * 12


def test_nothing_counts_that_ends_after_the_budget(made: Callable[..., Path]) -> None:
    sweep, table = world(made())
    trace = simulate(sweep, table, chosen, workers=2, budget=5)
    assert len(trace.finished) == 4
    assert trace.started == 6
    assert trace.paid == pytest.approx(5 * table.whole)


def test_a_replicate_is_the_same_setting_with_another_seed_of_the_table(
    made: Callable[..., Path], tmp_path: Path
) -> None:
    """Three seeds: the search meets two of them, and what it never meets is the truth."""
    sweep, _ = world(made(seeds=3), overrides=("search.sampler=tpe", "search.replicates=2", "search.trials=16"))
    curves = Curves.of(Table.read(made(seeds=3), sweep), list(sweep.objectives))
    for seed in range(3):
        table = Tabled(sweep, curves, seed, met=2)
        folder = tmp_path / f"record-{seed}"
        trace = simulate(sweep, table, chosen, workers=2, folder=folder)
        trials = records.read(folder).trials
        again = [trial for trial in trials if trial.origin == "replicate"]
        assert again
        assert len({trial.replicate_of for trial in again}) == len(again), "no seed is left for a third training"
        for trial in again:
            parent = trials[trial.parents[0]]
            assert trial.params == parent.params
            place = table.settings.index(dict(trial.params))
            of_next = curves.seen[place, (seed + 1) % 3, -1].tolist()
            assert [trial.metrics[name] for name in sweep.objectives] == pytest.approx(of_next)
        np.testing.assert_allclose(table.truth.values, curves.final[:, (seed + 2) % 3])
        assert len({each.setting for each in trace.finished}) < len(trace.finished)


@pytest.mark.parametrize("stopping", ["pareto_halving", "none", "race"])
def test_a_search_that_has_tried_every_setting_is_at_its_end(made: Callable[..., Path], stopping: str) -> None:
    more = ("search.trials=100", f"stopping={stopping}", "search.replicates=3", "search.duplicates=replicate")
    sweep, table = world(made(), overrides=(*more, f"search.sampler={'auto' if stopping == 'race' else 'tpe'}"))
    trace = simulate(sweep, table, chosen, workers=8)
    assert sorted({each.setting for each in trace.finished}) == list(range(25))
    assert len(trace.finished) == 25


def test_points_a_grid_and_priors_are_asked_as_a_sweep_asks_them(made: Callable[..., Path], tmp_path: Path) -> None:
    def tried(*overrides: str) -> list[float]:
        sweep, table = world(made(), overrides=overrides)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        simulate(sweep, table, chosen, workers=1, folder=folder)
        return [float(trial.params["defense.beta"]) for trial in records.read(folder).trials]

    points = tried("search.points=[{defense.beta: 1.7}, {defense.beta: 0.3}]")
    assert points[:2] == [1.7, 0.3]
    grid = tried("search.sampler=grid", "search.trials=auto")
    assert grid == [round(0.1 * n, 1) for n in range(25)]
    prior = "trial.defense={name: trades, beta: {stepped: [0, 2.4, 0.1], prior: 0.2}}"
    for sampler in ("tpe", "random"):
        first, plain = tried(prior, f"search.sampler={sampler}"), tried(f"search.sampler={sampler}")
        assert first[0] == 0.2, "the prior's mode"
        assert np.mean(first) < np.mean(plain)


def test_what_a_table_has_no_answer_to_is_refused(made: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"search\.warm_start is not for searches over a table"):
        variants(made(), None, ["search.warm_start=[elsewhere]"], policies=[None], samplers=[None])
    with pytest.raises(
        UserError, match=r"curves.yaml: trial.schedule.epochs: is 9, but trainings of .* have 10 epochs; write 10"
    ):
        variants(made(), None, ["trial.schedule.epochs=9"], policies=[None], samplers=[None])


def test_regret_is_of_the_settings_that_keep_to_the_constraints(made: Callable[..., Path]) -> None:
    kept = world(made(), overrides=("constraints={robust_accuracy: {min: 0.6}}",))[1]
    assert 0 < len(kept.truth.members) < 25
    assert kept.truth.values[kept.truth.members, 1].min() >= 0.6
    assert kept.truth.best < world(made())[1].truth.best
    with pytest.raises(UserError, match="constraints: no setting of the table keeps to them"):
        world(made(), overrides=("constraints={robust_accuracy: {min: 1}, clean_accuracy: {min: 1}}",))
    with pytest.raises(UserError, match=r"constraints\.cost_seconds: tables know of .* alone"):
        world(made(), overrides=("constraints={cost_seconds: {max: 5}}",))


def test_trainings_that_take_no_time_are_refused(made: Callable[..., Path]) -> None:
    path = made()
    path.write_text("".join(json.dumps({**row, "seconds": 0.0}) + "\n" for row in rows()))
    with pytest.raises(UserError, match="take no time"):
        world(path)


def test_searches_that_do_not_go_together_are_named(made: Callable[..., Path]) -> None:
    found = CliRunner().invoke(
        app, ["simulate", str(made()), "--policy", "none,race", "--sampler", "random", "--seeds", "1", "--trials", "6"]
    )
    assert found.exit_code == 0, found.output
    assert "none, random" in found.output
    assert "race, random: left out: " in found.output


def test_the_mean_over_trainings_selects() -> None:
    """Of two settings that look equal, one looks worse on second sight."""
    truth = Truth.of(np.array([[0.0, 1.0], [1.0, 0.0], [0.4, 0.4]]))
    trials = [Finished(1.0, 0, (0.0, 1.0)), Finished(2.0, 2, (0.5, 1.0)), Finished(3.0, 2, (0.3, 0.4))]
    found = Regrets.of(truth, trials)
    assert found.selected[2] == truth.regret([2]), "one that looks better hides the other one"
    assert found.selected[3] == truth.regret([0, 2]), "and no longer when its mean is known"


class AllPaused:
    """Begins everything, and goes on with whoever has come least far."""

    def choose(self, field: Field) -> Start | Resume | Nothing:
        paused = [curve for curve in field.curves if curve.state == "paused"]
        if len(paused) >= 5:
            return Resume(min(paused, key=lambda curve: (len(curve.rungs), curve.number)).number)
        return Start()

    def given_up(self, field: Field) -> tuple[int, ...]:
        return ()

    def places(self, field: Field) -> dict[int, str]:
        return {}


def test_paused_trials_go_on_from_where_they_were(made: Callable[..., Path], tmp_path: Path) -> None:
    stops = ("stopping={name: pareto_halving, rungs: [2, 5]}",)
    sweep, table = world(made(), overrides=stops)
    folder = tmp_path / "record"
    trace = simulate(sweep, table, lambda sweep, listed: AllPaused(), workers=2, folder=folder)
    known = records.read(folder).trials
    assert {trial.outcome for trial in known} == {"complete", "stopped"}
    pieces = sum(len(trial.rungs) for trial in known)
    epochs = sum(trial.rungs[-1].epoch for trial in known)
    assert trace.paid == pytest.approx(2.0 * epochs + 2 * 0.1 * 2.0 * pieces)
    assert len(trace.finished) == sum(trial.outcome == "complete" for trial in known)


@pytest.mark.parametrize("stopping", ["race", "pareto_halving"])
def test_a_search_is_the_same_again_and_ends_where_the_table_does(made: Callable[..., Path], stopping: str) -> None:
    sweep, table = world(made(), overrides=(f"stopping={stopping}", "search.sampler=auto", "search.trials=40"))
    first, second = (simulate(sweep, table, chosen, workers=4) for _ in range(2))
    assert first == second
    assert first.started == 25
    assert Regrets.of(table.truth, first.finished).judged[-1] < 0.2


def test_the_command_compares_searches_and_keeps_every_sweep(made: Callable[..., Path], tmp_path: Path) -> None:
    path = made()
    to_json, to_csv = tmp_path / "out.json", tmp_path / "out.csv"
    asked = ["simulate", str(path), "--policy", "none,pareto_halving", "--seeds", "2", "--trials", "6"]
    found = CliRunner().invoke(app, [*asked, "--json", str(to_json), "--csv", str(to_csv)])
    assert found.exit_code == 0, found.output
    assert "25 settings, 2 seeds" in found.output
    assert "a minute" in found.output
    kept = json.loads(to_json.read_text())
    assert [each["search"] for each in kept] == ["none, tpe", "pareto_halving, tpe"]
    assert [len(each["sweeps"]) for each in kept] == [2, 2]
    with to_csv.open() as file:
        assert sum(row["search"] == "none, tpe" for row in csv.DictReader(file)) == 12


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["{table}", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["{table}", "--policy", "rase"], "--policy: 'rase' is none; did you mean 'race'"),
        (["{table}", "--policy", "none,rase"], "'rase'"),
        (["{table}", "--policy", "none,"], "--policy: '' is none"),
        (["{table}", "--sampler", "random,tpee"], "--sampler: 'tpee' is none; did you mean 'tpe'"),
        (
            ["{table}", "--json", "nowhere/x.json"],
            "nowhere/x.json: cannot be written: there is no writable folder nowhere",
        ),
        (["{table}", "--csv", "."], ".: is a folder; name a file"),
        (["{table}", "--set", "search.trails=3"], "trails"),
        (["{table}", "--set", "objectives={clean_accuracy: max, cost_seconds: min}"], "has nothing of cost_seconds"),
    ],
)
def test_mistakes_are_one_line(made: Callable[..., Path], more: list[str], said: str) -> None:
    path = made()
    found = CliRunner().invoke(app, ["simulate", *(word.replace("{table}", str(path)) for word in more)])
    assert isinstance(found.exception, UserError)
    assert said in str(found.exception)
    assert "\n" not in str(found.exception)
