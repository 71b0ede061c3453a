"""The benchmark of searches: what rivals are told, and what is kept of sweeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import _search_runs
import _searches
import numpy as np
import pytest
from _bench import Bench
from _fitted import _draws, _paces
from _rivals import OptunaRival, Rivals, Work, makers
from _search_scores import Sweeps, _beyond_chance, judge
from _searches import Task, key
from optuna.samplers import RandomSampler

from sweeps.search.regret import Finished, Regrets
from sweeps.search.simulation import clocked
from sweeps.search.tabled import Curves, Tabled
from sweeps.space import Sweep

SPACE = {
    "name": "curves",
    "judge": {"data": "digits", "threat": {"norm": "linf", "eps": 0.1}},
    "trial": {
        "model": {"name": "small_cnn", "width": 1},
        "defense": {"choice": [{"name": "trades", "beta": {"loguniform": [0.1, 10]}}, {"name": "adversarial"}]},
        "schedule": {"epochs": 9, "lr": {"uniform": [0.1, 0.9]}},
    },
}
EPOCHS = (1, 3, 9)


def world(seed: int = 0) -> tuple[Sweep, Tabled]:
    """40 settings, of which the second half is better the larger its rate."""
    sweep = Sweep.model_validate(SPACE)
    draw = np.random.default_rng(0)
    params: list[dict[str, object]] = []
    for lr in np.linspace(0.1, 0.9, 40).tolist():
        trades = {"defense": "trades", "defense.trades.beta": float(draw.uniform(0.1, 10))}
        params.append({**(trades if draw.random() < 0.5 else {"defense": "adversarial"}), "schedule.lr": lr})
    rates = np.linspace(0.1, 0.9, 40)
    final = np.stack([np.repeat(rates[:, None], 2, axis=1), 1 - np.repeat(rates[:, None], 2, axis=1)], axis=-1)
    seen = final[:, :, None] * (np.asarray(EPOCHS) / 9)[:, None]
    seconds = np.ones((40, 2, 1)) * np.asarray(EPOCHS, dtype=float)
    return sweep, Tabled(sweep, Curves(params, EPOCHS, seconds, seen, final), seed)


def test_a_rival_is_told_of_the_setting_that_it_got_and_gets_none_twice() -> None:
    sweep, table = world()
    rival = OptunaRival(sweep, table, RandomSampler(seed=0))
    queue = Rivals(rival, table)
    trace = clocked(queue, table, queue.answers, workers=3, budget=20)
    assert len({each.setting for each in trace.finished}) == len(trace.finished) > 15
    told = [trial for trial in rival.study.get_trials() if trial.values is not None]
    for trial, done in zip(told, sorted(trace.finished, key=lambda each: each.cost), strict=False):
        assert trial.params in [dict(each) for each in table.settings]
        assert done.seen == pytest.approx(table.gains(table.values(done.setting, 9)))
    assert sorted(trial.params["schedule.lr"] for trial in told)[: len(trace.finished)]


class Impatient(OptunaRival):
    """Looks after one epoch, and stops whatever is not clean enough."""

    looks = (1,)

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        return values["clean_accuracy"] < 0.05


def test_a_training_that_is_stopped_on_the_way_costs_what_it_took() -> None:
    sweep, table = world()
    queue = Rivals(Impatient(sweep, table, RandomSampler(seed=1)), table)
    trace = clocked(queue, table, queue.answers, workers=1, budget=1000)
    assert trace.started == 40
    stopped = 40 - len(trace.finished)
    assert stopped == sum(table.values(place, 1)["clean_accuracy"] < 0.05 for place in range(40)) > 0
    assert trace.paid == pytest.approx(stopped * 1.2 + len(trace.finished) * (9 + 0.3))


@pytest.mark.parametrize("name", ["optuna_tpe", "random", "optuna_nsga2"])
def test_rivals_are_the_same_again(name: str) -> None:
    traces = []
    for _ in range(2):
        sweep, table = world(seed=1)
        queue = Rivals(makers(None)[name](sweep, table, 5), table)
        traces.append(clocked(queue, table, queue.answers, workers=4, budget=14))
    assert traces[0] == traces[1]
    assert traces[0].paid == pytest.approx(14 * table.whole)


def test_a_sweep_that_was_kept_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "curves.jsonl"
    table.write_text("{}\n")
    task = Task(str(table), "all", "random", 3)
    runs = _search_runs.Runs(tmp_path / "cache.jsonl")
    assert runs.get(task) is None
    runs.add({**key(task), "finished": [], "started": 1, "paid": 0.0, "seconds": 0.1})
    with (tmp_path / "cache.jsonl").open("a") as file:
        file.write('{"half a li')
    again = _search_runs.Runs(tmp_path / "cache.jsonl")
    assert again.get(task) is not None
    assert again.get(replace(task, number=4)) is None
    monkeypatch.setattr(_search_runs, "Worker", None)  # none is needed
    _search_runs.run_all([task], again, workers=1, python=None, seconds=1e9)
    _searches._digest.cache_clear()
    table.write_text("{} \n")  # another table of the same name
    assert again.get(task) is None
    assert json.loads((tmp_path / "cache.jsonl").read_text().splitlines()[0])["number"] == 3


def test_nobody_is_surely_worse_than_himself() -> None:
    draw = np.random.default_rng(0).random((30, 601))
    assert _beyond_chance(draw, draw, 0.1) <= 0
    assert _beyond_chance(draw + 2, draw, 0.1) > 1


def test_targets_need_no_rival() -> None:
    """The quick form has random search and TPE beside ours, with three sweeps each."""
    truth = world()[1].truth
    chance = np.random.default_rng(0)
    searches: dict[str, Sweeps] = {
        name: [
            (Regrets.of(truth, [Finished(float(i + 1), int(chance.integers(40)), (0.5, 0.5)) for i in range(9)]), {})
            for _ in range(3)
        ]
        for name in ("random", "optuna_tpe", "race")
    }
    bench = Bench("search", quick=True, kept=False)
    judge(bench, "curves", 10, searches)
    assert not [line for line in bench.targets if "rival" in line]
    assert [line for line in bench.targets if "quarters" in line]


def test_the_measure_is_no_rival_of_ours() -> None:
    """A cost beside the best rival's is beside another search than the one that all costs are counted in."""
    truth, searches = world()[1].truth, dict[str, Sweeps]()
    for name, first in (("optuna_tpe", 1.0), ("random", 3.0), ("race", 2.0)):
        trials = [Finished(first + i, i, (0.5, 0.5)) for i in range(0, 40, 4)]
        searches[name] = [(Regrets.of(truth, trials), {}) for _ in range(10)]
    bench = Bench("search", quick=True, kept=False)
    judge(bench, "curves", 60, searches)
    assert [line for line in bench.targets if "best rival's, random" in line]


def test_priors_of_the_benchmark_are_of_the_tables() -> None:
    """Right and wrong of each table that is there: options of its space, and inside their ranges."""
    for (table, _), known in _searches.PRIORS.items():
        sweep = Sweep.from_yaml(_searches.TABLES / f"{table}.yaml")
        ranges = {parameter.name: parameter.distribution for parameter in sweep.space}
        assert all(ranges[name].low <= value <= ranges[name].high for name, value in known.items())
    task = Task(str(_searches.TABLES / "digits_one_cycle.parquet"), "all", "race prior wrong", 0)
    told = _searches.run(replace(task, settings="even"))
    assert told["finished"]


def test_dense_settings_are_of_the_space_and_take_what_the_tables_do() -> None:
    sweep, _ = world()
    settings = _draws(sweep, 0)
    assert len(settings) == len({frozenset(each.items()) for each in settings}) == 2000
    assert {sweep.trial_config(each).defense.name for each in settings[:50]} == {"trades", "adversarial"}
    x = np.random.default_rng(0).random((50, 2))
    curves = Curves(
        [{}] * 50, EPOCHS, np.exp(x[:, :1, None]) * np.asarray(EPOCHS), np.zeros((50, 1, 3, 2)), np.zeros((50, 1, 2))
    )
    np.testing.assert_allclose(_paces(x, curves, x), x[:, 0], atol=0.01)
