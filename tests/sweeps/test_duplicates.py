"""Equal trials are not trained again: the search asks anew, then replicates with another seed, or ends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sweeps import dry_run
from sweeps.events import Said
from sweeps.record import Issued, Record
from sweeps.running.queues import DONE, End
from sweeps.search.controller import Controller
from sweeps.search.settings import Settings
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from sweeps.space.templates import count, nth
from tests.sweeps.small import small_sweep

COSTS = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6}
THREE = ("trial.defense={choice: [trades, adversarial, natural]}", "trial.schedule.lr=0.1")
TWELVE = (*THREE, "trial.model.width={int: [2, 3]}", "trial.batch.size={stepped: [80, 100, 20]}")
OPTIONS = {
    "three": (THREE, 3),
    "twelve": (TWELVE, 12),
    # natural training looks at no attack: of six draws four are different trainings
    "ignored": ((*THREE[1:], "trial.defense={choice: [trades, natural]}", "trial.attack.steps={int: [1, 3]}"), 4),
    # two labels, one branch
    "twice": ((*THREE[1:], "trial.defense={choice: [trades, {name: trades, label: b}, natural]}"), 2),
}
SPACES = pytest.mark.parametrize(("options", "settings"), OPTIONS.values(), ids=OPTIONS)
SAMPLERS = pytest.mark.parametrize("sampler", ["tpe", "nsga2", "qmc", "random"])


def searched(folder: Path, sweep: Sweep, *, lives: int = 1) -> tuple[Record, list[str]]:
    """A search to its end without training; in a new life after so many trials. The record is closed."""
    said: list[str] = []
    done: Any = None
    while done is not DONE:
        with Record(folder, sweep.objectives) as record:
            tell = lambda event: said.append(event.line) if isinstance(event, Said) else None  # noqa: E731
            controller = Controller(sweep, record, first_in_first_out, tell, session="one")
            for _ in range(lives if lives > 1 else 10**6):
                done = controller.next()
                if done is DONE:
                    break
                number = done.number
                clean = (hash_of(record, number) % 97) / 100
                controller.finish(
                    done, End("complete", None, {"clean_accuracy": clean, "robust_accuracy": 0.5, **COSTS})
                )
    return record, said


def hash_of(record: Record, number: int) -> int:
    return sum(map(ord, str(sorted(record.trial(number).params.items()))))


def trained(sweep: Sweep, record: Record) -> list[str]:
    """What was trained, in full, seeds included."""
    found = []
    for trial in record.trials():
        config = sweep.trial_config(trial.params)
        found.append(config.model_copy(update={"seed": config.seed if trial.seed is None else trial.seed}).to_yaml())
    return found


@SPACES
@SAMPLERS
def test_a_search_ends_once_all_settings_were_tried(
    tmp_path: Path, options: tuple[str, ...], settings: int, sampler: str
) -> None:
    sweep = small_sweep(tmp_path / "space", *options, f"search.sampler={sampler}", "search.trials=20")
    record, said = searched(tmp_path / "record", sweep)
    every = trained(sweep, record)
    assert len(every) == len(set(every)) == settings
    assert said == [f"all {settings} settings tried: no more trials, though 20 were asked for"]


@SPACES
@SAMPLERS
def test_or_replicates_them_with_other_seeds(
    tmp_path: Path, options: tuple[str, ...], settings: int, sampler: str
) -> None:
    more = (f"search.sampler={sampler}", "search.trials=20", "search.duplicates=replicate")
    sweep = small_sweep(tmp_path / "space", *options, *more)
    record, said = searched(tmp_path / "record", sweep)
    every = trained(sweep, record)
    assert len(every) == len(set(every)) == 20
    assert not said
    times = Counter(trial.setting for trial in record.trials())
    assert len(times) == settings
    assert max(times.values()) - min(times.values()) <= 1
    assert {trial.origin for trial in record.trials()} == {"sampled", "replicate"}


@pytest.mark.parametrize("duplicates", ["end", "replicate"])
@SAMPLERS
def test_many_lives_search_as_one(tmp_path: Path, sampler: str, duplicates: str) -> None:
    more = (f"search.sampler={sampler}", "search.trials=16", f"search.duplicates={duplicates}")
    sweep = small_sweep(tmp_path / "space", *TWELVE, *more)
    one, _ = searched(tmp_path / "one", sweep)
    many, _ = searched(tmp_path / "many", sweep, lives=3)
    assert [(t.params, t.seed, t.parents) for t in one.trials()] == [
        (t.params, t.seed, t.parents) for t in many.trials()
    ]


def test_more_trials_than_settings_were_asked_for_before_and_fewer_now_are_new_ones(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space", *TWELVE, "search.trials=5")
    searched(tmp_path / "record", sweep)
    record, said = searched(tmp_path / "record", small_sweep(tmp_path / "space", *TWELVE, "search.trials=12"))
    assert len(set(trained(sweep, record))) == len(record.trials()) == 12
    assert not said


def test_a_branch_without_options_is_tried_once_beside_one_that_has_numbers(tmp_path: Path) -> None:
    defenses = "trial.defense={choice: [natural, adversarial, {name: trades, beta: {uniform: [1, 2]}}]}"
    sweep = small_sweep(tmp_path / "space", defenses, "trial.schedule.lr=0.1", "search.trials=12")
    record, said = searched(tmp_path / "record", sweep)
    assert Counter(trial.params["defense"] for trial in record.trials()) == {
        "natural": 1,
        "adversarial": 1,
        "trades": 10,
    }
    assert not said


@SPACES
def test_settings_are_counted_and_listed(tmp_path: Path, options: tuple[str, ...], settings: int) -> None:
    """Every way to fill the template is one that can be drawn, and all are different."""
    sweep = small_sweep(tmp_path / "space", *options)
    ways = [nth(sweep.template, index) for index in range(int(count(sweep.template)))]
    assert len({str(way) for way in ways}) == len(ways) >= settings
    assert len({sweep.trial_config(way).to_yaml() for way in ways}) == settings
    assert all(sweep.ask(lambda parameter: way[parameter.name]) == way for way in ways)  # noqa: B023


def test_a_branch_counts_what_is_in_it_and_a_range_without_steps_is_endless(tmp_path: Path) -> None:
    inside = "trial.defense={choice: [natural, {name: trades, beta: {choice: [1, 2, 3]}}]}"
    assert count(small_sweep(tmp_path, inside, "trial.schedule.lr={stepped: [0.1, 0.3, 0.1]}").template) == 4 * 3
    assert count(small_sweep(tmp_path).template) == float("inf")


def test_a_draw_that_cannot_be_built_costs_itself(tmp_path: Path) -> None:
    """Depths of 10, 58 and 136, at the ends and in between, are right; most others are not, and only a draw shows it."""
    deep = "trial.model={name: wide_resnet, width: 1, depth: {int: [10, 136]}}"
    sweep = small_sweep(tmp_path / "space", *THREE, deep, "search.trials=30")
    record, _ = searched(tmp_path / "record", sweep)
    assert len(record.trials()) == 30
    wrong = [trial for trial in record.trials() if (int(str(trial.params["model.depth"])) - 4) % 6]
    assert 0 < len(wrong) < 30
    for trial in wrong:
        assert trial.outcome == "failed"
        assert not trial.feasible
        assert str(trial.cause).startswith("infeasible: trial.model.depth: must be 6n + 4")
    assert all(trial.outcome == "complete" for trial in record.trials() if trial not in wrong)
    with Record(tmp_path / "record", sweep.objectives) as again:  # as the record says it, too
        assert [trial.feasible for trial in again.trials()] == [trial.feasible for trial in record.trials()]


def test_the_setting_with_the_fewest_trials_is_replicated_first(tmp_path: Path) -> None:
    """One that cannot be built never is."""
    deep = "trial.model={name: wide_resnet, width: 1, depth: {int: [10, 136]}}"
    sweep = small_sweep(tmp_path / "space", "trial.defense=trades", "trial.schedule.lr=0.1", deep)
    with Record(tmp_path / "record", sweep.objectives) as record:
        settings = Settings(sweep, record)
        assert (len(settings), settings.fewest()) == (0, None)
        for depth in (11, 16, 10):
            record.issue(Issued({"model.depth": depth}))
        assert (len(settings), settings.fewest()) == (3, 1)
        first = settings.replicate_seed(1)
        record.issue(Issued({"model.depth": 16}, seed=first, origin="replicate", parents=(1,)))
        assert (len(settings), settings.fewest()) == (3, 2)
        assert settings.replicate_seed(1) != first
        assert settings.tried({"model.depth": 16}) == 1
        assert settings.tried({"model.depth": 22}) is None


def test_a_dry_run_shows_and_counts_settings(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space", *THREE, "search.trials=20")
    assert sweep.wanted == len(dry_run.first_trials(sweep, 5)) == 3
    assert small_sweep(tmp_path / "space", *THREE, "search.trials=20", "search.duplicates=replicate").wanted == 20
    assert small_sweep(tmp_path / "space", "search.trials=20").wanted == 20
