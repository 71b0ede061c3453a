"""`stopping` in a space: what `auto` comes to, where rungs lie, what is refused, and that folders of before mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sweeps
from robustray.errors import UserError
from sweeps import driver, record
from sweeps.record import provenance
from sweeps.search.controller import Controller
from sweeps.search.field import Start
from sweeps.space import Sweep
from sweeps.space.space import of_before
from sweeps.space.stopping import RUNGS, Stopping, most_states, rung_epochs, too_early
from tests.sweeps.small import SPACE, run_quietly, small_sweep

LONG = SPACE.replace("epochs: 3", "epochs: 9").replace("{sampler: random, trials: 5, seed: 3}", "{trials: 8}")


def resolved(folder: Path, *overrides: str, text: str = LONG) -> tuple[str, str]:
    """What the sampler and the stopping of a new sweep come to."""
    sweep = small_sweep(folder, *overrides, text=text).settled()
    assert sweep.settled() == sweep
    return sweep.search.sampler, sweep.stopping.name


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        ([], ("auto", "race")),
        (["stopping=race"], ("auto", "race")),
        (["stopping=none"], ("tpe", "none")),
        (["stopping=fifo"], ("tpe", "none")),
        (["stopping=pareto_halving"], ("tpe", "pareto_halving")),
        (["stopping=pareto_halving", "search.sampler=random"], ("random", "pareto_halving")),
        (["search.sampler=tpe"], ("tpe", "none")),
        (["search.sampler=grid", "search.points=2"], ("grid", "none")),
        (["search.trials=7"], ("tpe", "none")),
        (["trial.schedule.epochs=8"], ("tpe", "none")),
        (["trial.schedule.epochs={int: [8, 20]}"], ("tpe", "none")),
        (["trial.schedule.epochs={int: [9, 20]}"], ("auto", "race")),
        (["objectives={robust_accuracy: max}"], ("auto", "race")),
        (["objectives={robust_accuracy: max, cost_seconds: min}"], ("auto", "race")),
        (["measures=[lipschitz]", "objectives={robust_accuracy: max, lipschitz: min}"], ("tpe", "none")),
    ],
)
def test_what_is_left_to_us(overrides: list[str], wanted: tuple[str, str], tmp_path: Path) -> None:
    assert resolved(tmp_path, *overrides) == wanted


def test_what_was_decided_is_said_in_a_line(tmp_path: Path) -> None:
    def said(*overrides: str) -> str | None:
        sweep = small_sweep(tmp_path, *overrides, text=LONG)
        return sweep.stops_as(sweep.settled())

    assert said() == "stopping: race at 1/2 and all of training; sampler: its own model"
    assert said("stopping={name: pareto_halving, rungs: [3]}") == (
        "stopping: pareto_halving at 1/3 and all of training; sampler: tpe"
    )
    assert said("search.sampler=tpe") is None, "nobody asked"
    assert said("stopping=none") is None
    assert said("stopping=auto", "trial.schedule.epochs=8") == (
        "stopping: none, every trial runs to its end (trials of 8 epochs leave nothing to save)"
    )


@pytest.mark.parametrize(
    ("stopping", "more", "said"),
    [
        (
            "race",
            ["search.sampler=tpe"],
            "race chooses settings by its own model, not by sampler tpe; leave search.sampler",
        ),
        ("{rungs: []}", [], "rungs: must rise"),
        ("{rungs: [0.5, 0.2]}", [], "rungs: must rise from one to the next"),
        ("{rungs: [0, 1]}", [], "rungs.0: must be more than 0, not 0"),
        ("{rungs: [0.5, a]}", [], "rungs.1: must be a number, not 'a'"),
        ("{rungs: [0.5, 0.2]}", [], "not [0.5, 0.2]"),
        ("{rungs: [0.5, 3]}", [], "takes shares of training, up to 1, or whole epochs, but not both"),
        ("{name: race, rungs: [3, 10]}", [], "rung 10 is beyond the 9 epochs of a trial"),
        (
            "{name: race, rungs: [3]}",
            ["trial.schedule.epochs={int: [9, 12]}"],
            "trials have 9 to 12 of them; give shares",
        ),
        ("{name: race, eta: 4}", [], "eta: is pareto_halving's; race has none"),
        ("{name: race, keep_paused: 0}", [], "keep_paused: must be at least 1"),
        (
            "race",
            ["measures=[lipschitz]", "objectives={robust_accuracy: max, lipschitz: min}"],
            "lipschitz is measured as training ends, and not at rungs; write none",
        ),
    ],
)
def test_mistakes(stopping: str, more: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        small_sweep(tmp_path, f"stopping={stopping}", *more, text=LONG)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    shares=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5, unique=True).map(sorted), epochs=st.integers(1, 400)
)
def test_rungs_lie_inside_a_training_and_rise(shares: list[float], epochs: int) -> None:
    stopping = Stopping(name="race", rungs=tuple(shares))
    every = rung_epochs(stopping.shares(epochs), epochs)
    assert every[-1] == epochs
    assert list(every) == sorted(every)
    assert all(1 <= epoch <= epochs for epoch in every)
    assert all(abs(epoch - share * epochs) <= 1 for epoch, share in zip(every, shares, strict=False))


@given(epochs=st.integers(2, 300), data=st.data())
def test_rungs_that_are_epochs_come_back_as_they_were_given(epochs: int, data: st.DataObject) -> None:
    given_ = data.draw(st.lists(st.integers(1, epochs), min_size=1, max_size=6, unique=True).map(sorted))
    stopping = Stopping(name="race", rungs=tuple(map(float, given_)))
    wanted = given_ if given_[-1] == epochs else [*given_, epochs]
    assert list(rung_epochs(stopping.shares(epochs), epochs)) == wanted
    assert rung_epochs(RUNGS["pareto_halving"], 27) == (6, 14, 27)


def _folder(path: Path, sweep: Sweep, **written: Any) -> None:
    """A results folder with one trial, whose sweep.yaml says this of the search."""
    assert run_quietly(sweep, path)
    about = yaml.safe_load((path / provenance.FILE).read_text())
    for key, value in written.items():
        if value is None:
            about["space"].pop(key)
        elif isinstance(value, dict):
            about["space"][key].update(value)
        else:
            about["space"][key] = value
    if "search" not in written:
        del about["space"]["search"]["sampler"]
    (path / provenance.FILE).write_text(yaml.safe_dump(about))


@pytest.mark.parametrize("stopping", [None, "fifo", {"name": "fifo"}])
def test_a_folder_of_before_goes_on_as_it_was_begun(stopping: Any, tmp_path: Path) -> None:
    """Its space says nothing of stopping, and would be a race in a new folder."""
    short = ("search.trials=1", "trial.schedule.epochs=9", "judge.trials=none")
    folder = tmp_path / "small"
    _folder(folder, small_sweep(tmp_path, *short, "stopping=none", text=LONG), stopping=stopping)
    more = small_sweep(tmp_path, "search.trials=8", "judge.trials=none", text=LONG)
    settled = provenance.settled(more, folder, fresh=False)
    assert (settled.search.sampler, settled.stopping.name) == ("tpe", "none")
    assert provenance.settled(more, folder, fresh=True).stopping.name == "race"
    provenance.prepare(settled, folder, fresh=False)  # nothing differs
    assert provenance.sweep_in(folder).stopping.name == "none"
    assert more.difference(of_before(yaml.safe_load((folder / provenance.FILE).read_text())["space"])) == []
    race = small_sweep(tmp_path, "search.trials=8", "judge.trials=none", "stopping=race", text=LONG)
    with pytest.raises(UserError, match=r'stopping.name: "none" -> "race".*--fresh'):
        sweeps.run(race, folder, "local", write=lambda line: None)
    assert len(record.read(folder).trials) == 1


def test_a_race_asks_its_policy_in_a_dry_run_too(tmp_path: Path) -> None:
    from sweeps import dry_run

    sweep = small_sweep(tmp_path, "search.first=none", text=LONG).settled()
    drawn = [params for params, _ in dry_run.first_trials(sweep, 3)]
    assert len(drawn) == 3
    with record.Record(tmp_path / "record", sweep.objectives) as opened:
        from sweeps.search.stopping import policy

        controller = Controller(sweep, opened, policy(sweep), lambda event: None, session="one")
        assert controller.pausing is not None
        first = controller.pausing.policy.choose(controller.pausing.progress.field())
        assert isinstance(first, Start)
        assert first.params is None or dict(first.params) == drawn[0]


@pytest.mark.parametrize(
    ("schedule", "rungs", "warns"),
    [
        ("{name: one_cycle, epochs: 100}", "[0.04]", True),
        ("{name: one_cycle, epochs: 100}", "[0.2, 0.5]", True),
        ("{name: one_cycle, epochs: 100}", "[0.3, 0.5]", False),
        ("{name: one_cycle, epochs: 100}", "auto", False),
        ("{name: one_cycle, epochs: 9}", "auto", False),
        ("{name: constant, epochs: 100}", "[0.04]", False),
        ("{name: cosine, epochs: 100, warmup: 5}", "[4, 50]", True),
    ],
)
@pytest.mark.parametrize("name", ["race", "pareto_halving"])
def test_rungs_before_the_rate_has_warmed_up_are_odd(
    name: str, schedule: str, rungs: str, warns: bool, tmp_path: Path
) -> None:
    """One line with its place; what the defaults say is no oddity."""
    more = (f"stopping={{name: {name}, rungs: {rungs}}}", f"trial.schedule={schedule}", "search.trials=8")
    sweep = small_sweep(tmp_path, *more, text=LONG).settled()
    told = too_early(sweep.stopping, sweep.examples())
    assert (told is not None) == warns
    assert told in driver.look_ahead(sweep) if warns else not driver.look_ahead(sweep)
    if told is not None:
        assert told.startswith("stopping.rungs: ")
        assert "trial.schedule: " in told
        assert "\n" not in told


@given(
    st.sampled_from([(0.2,), (0.5,), (2 / 9, 0.5)]),
    st.integers(1, 12),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_no_more_states_than_the_budget_pays_for(
    rungs: tuple[float, ...], worth: int, keep: int | None, ended: int, waiting: int
) -> None:
    """Of whatever ended and waits within the budget, and within what may wait."""
    stopping, epochs = Stopping(name="race", rungs=rungs, keep_paused=keep), 27
    first = rung_epochs(stopping.shares(epochs), epochs)[0] / epochs
    most = most_states(stopping, worth, epochs)
    if ended + first * waiting <= worth and (keep is None or waiting <= keep):
        assert ended + waiting <= most
    assert most_states(stopping, 0, epochs) <= (keep or 0)
    if keep is not None:
        assert most_states(stopping, worth, epochs, waiting=keep) == worth
