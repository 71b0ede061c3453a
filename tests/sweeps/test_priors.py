"""Priors: how YAML says them, their density and draws, and what a right one and a wrong one do to a search."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from robustray.errors import UserError
from sweeps import record
from sweeps.dry_run import _options
from sweeps.running.queues import DONE, End, Job
from sweeps.search.controller import Controller
from sweeps.search.first import HALF, SHARE, First
from sweeps.search.priors import OTHERS, SPREAD, Prior
from sweeps.search.stopping import first_in_first_out
from sweeps.space import Sweep
from sweeps.space.distributions import UNKNOWN, Distribution, Parameter
from sweeps.space.schema import schema
from sweeps.space.templates import compile_template, parameters, plain
from tests.sweeps.small import SPACE, small_sweep

TPE = SPACE.replace("sampler: random", "sampler: tpe")
BETA = "trial.defense={choice: [{name: trades, beta: {loguniform: [0.5, 32], prior: 4}}, adversarial, natural], prior: trades}"
NUMBERS = {"uniform": [0.5, 4.5], "loguniform": [0.5, 32], "int": [1, 9], "logint": [1, 64], "stepped": [0, 4, 0.5]}


def prior_of(*distributions: Distribution) -> Prior:
    return Prior([Parameter(f"option{index}", each) for index, each in enumerate(distributions)])


@pytest.mark.parametrize(
    ("tree", "kept"),
    [
        ({"loguniform": [0.5, 20], "prior": 6}, 6.0),
        ({"uniform": [0, 1], "prior": "8/16"}, 0.5),
        ({"int": [1, 9], "prior": 3.0}, 3),
        ({"logint": [1, 64], "prior": 64}, 64),
        ({"stepped": [0, 4, 0.5], "prior": 1.5}, 1.5),
        ({"choice": [0, 0.1, "1/4"], "prior": "1/4"}, 0.25),
        ({"choice": [2, 4], "prior": "4"}, 4),
        ({"choice": [2, 4], "prior": 4.0}, 4),
        ({"choice": [None, 0.5], "prior": None}, None),
        ({"choice": [True, False], "prior": False}, False),
    ],
)
def test_a_prior_is_written_beside_any_distribution_and_comes_back(tree: dict[str, object], kept: object) -> None:
    template = compile_template({"option": tree})
    (parameter,) = parameters(template)
    prior = parameter.distribution.prior
    assert (prior, type(prior)) == (kept, type(kept))
    again = compile_template(plain(template))
    assert again == template
    assert plain(again)["option"]["prior"] == kept


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trial.schedule.lr={uniform: [0.1, 0.5], prior: 5}", r"schedule.lr.prior: must be a number from 0.1 to 0.5, not 5"),
        (f"trial.schedule.lr={{uniform: [0.1, 0.5], prior: {10**400}}}", r"schedule.lr.prior: must be a number from 0.1 to"),
        (f"trial.model.width={{int: [1, 4], prior: {10**400}}}", r"model.width.prior: must be a whole number from 1 to 4"),
        ("trial.schedule.lr={uniform: [0.1, 0.5], prior: true}", r"schedule.lr.prior: must be a number .*, not true"),
        ("trial.model.width={int: [1, 4], prior: 2.5}", r"model.width.prior: must be a whole number .*, not 2.5"),
        ("trial.model.width={stepped: [1, 5, 2], prior: 2}", r"model.width.prior: must be .* in steps of 2, not 2"),
        ("trial.defense={choice: [trades, natural], prior: tades}", r"defense.prior: must be one of 'trades', 'natural'"),
        ("trial.schedule.lr={uniform: [0.1, 0.5], priors: 5}", "only key of its mapping but for prior, not beside 'priors'"),
    ],
)  # fmt: skip
def test_a_prior_outside_is_one_line_with_its_place(override: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says) as error:
        small_sweep(tmp_path, override)
    assert "\n" not in str(error.value)


def test_a_prior_changes_no_trial_but_is_another_search(tmp_path: Path) -> None:
    flat = small_sweep(tmp_path, "trial.schedule.lr={uniform: [0.1, 0.5]}")
    told = small_sweep(tmp_path, "trial.schedule.lr={uniform: [0.1, 0.5], prior: 0.2}")
    params = {"defense": "natural", "schedule.lr": 0.3}
    assert flat.trial_config(params) == told.trial_config(params)
    assert told.difference(flat.resolved()) == [
        'trial.schedule.lr: {"uniform": [0.1, 0.5]} -> {"prior": 0.2, "uniform": [0.1, 0.5]}'
    ]
    assert Sweep.model_validate(told.resolved()).space == told.space
    assert small_sweep(tmp_path, "trial.schedule.lr.prior=0.2").space[-1].distribution.prior == 0.2


def test_a_dry_run_shows_priors_where_there_are_any(tmp_path: Path) -> None:
    lines: list[str] = []
    _options(small_sweep(tmp_path, BETA), lines.append)
    assert re.split(r"  +", lines[0]) == ["option", "drawn", "from", "prior", "only when"]
    assert re.search(
        r"defense.trades.beta +loguniform +a number from 0.5 to 32 +4 +defense is trades", "\n".join(lines)
    )
    _options(small_sweep(tmp_path), lines.append)
    assert "prior" not in "".join(lines[4:])


@given(kind=st.sampled_from(sorted(NUMBERS)), mode=st.floats(0, 1), way=st.floats(0, 1))
def test_the_density_is_a_gaussian_on_the_options_own_scale(kind: str, mode: float, way: float) -> None:
    flat = Distribution.parse(kind, NUMBERS[kind])  # type: ignore[arg-type]
    told = flat.likely(flat.scaled(mode))
    value = told.scaled(way)
    low, high = (math.log(flat.low), math.log(flat.high)) if flat.is_log else (flat.low, flat.high)

    def along(number: object) -> float:
        assert isinstance(number, int | float)
        return ((math.log(number) if flat.is_log else number) - low) / (high - low)

    expected = -((along(value) - along(told.prior)) ** 2) / (2 * SPREAD**2)
    prior = prior_of(told)
    assert prior.log_density({"option0": value}) == pytest.approx(expected, abs=1e-9)
    assert prior.log_density({"option0": told.prior}) == 0
    assert prior_of(flat).log_density({"option0": value}) == 0


def test_densities_of_options_add_up_and_other_values_of_a_choice_are_a_quarter_as_likely() -> None:
    prior = prior_of(
        Distribution("choice", choices=(0, False, "a")).likely(0), Distribution.parse("uniform", [0, 4]).likely(2)
    )
    assert prior.log_density({"option0": 0, "option1": 2.0}) == 0
    assert prior.log_density({"option0": False, "option1": 3.0}) == pytest.approx(math.log(OTHERS) - 0.5)
    assert not prior_of(Distribution.parse("uniform", [0, 4]))


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), mode=st.floats(0, 1))
def test_draws_are_settings_of_the_space(seed: int, mode: float) -> None:
    space = [Parameter("kind", Distribution("choice", choices=("a", "b")).likely("b"))]
    for kind, ends in NUMBERS.items():
        flat = Distribution.parse(kind, ends)  # type: ignore[arg-type]
        space += [Parameter(f"a.{kind}", flat, (("kind", "a"),))]
        space += [Parameter(f"b.{kind}", flat.likely(flat.scaled(mode)), (("kind", "b"),))]
    drawn = Prior(space).draw(np.random.default_rng(seed))
    by_name = {each.name: each.distribution for each in space}
    assert set(drawn) == {"kind", *(name for name in by_name if name.startswith(f"{drawn['kind']}."))}
    for name, value in drawn.items():
        assert by_name[name].checked(value) == value


def test_draws_have_the_density() -> None:
    """Kolmogorov's distance to the Gaussian that is cut off at the ends, and the shares of a choice."""
    from statistics import NormalDist

    told = Distribution.parse("loguniform", [0.5, 32]).likely(2)
    prior, rng = prior_of(told, Distribution("choice", choices=("a", "b", "c")).likely("b")), np.random.default_rng(0)
    drawn = [prior.draw(rng) for _ in range(2000)]
    ways = np.sort([told.way(float(str(each["option0"]))) for each in drawn])
    bell = NormalDist(told.way(2), SPREAD)
    expected = np.array([(bell.cdf(way) - bell.cdf(0)) / (bell.cdf(1) - bell.cdf(0)) for way in ways])
    assert np.abs(np.arange(1, len(ways) + 1) / len(ways) - expected).max() < 1.63 / math.sqrt(
        len(ways)
    )  # 1 % of seeds
    share = np.mean([each["option1"] == "b" for each in drawn])
    assert share == pytest.approx(1 / (1 + 2 * OTHERS), abs=4 * math.sqrt(0.25 / len(drawn)))


def test_draws_from_the_prior_become_rare(tmp_path: Path) -> None:
    sweep = small_sweep(tmp_path / "space", BETA, text=TPE)
    with record.Record(tmp_path / "record", sweep.objectives) as opened:
        first = First(sweep, opened)
        for known in (0, HALF, 9 * HALF):
            asked = np.mean([bool(list(first.samplers(number, known))) for number in range(400)])
            assert asked == pytest.approx(SHARE * HALF / (HALF + known), abs=4 * math.sqrt(0.25 / 400))
        assert not list(First(small_sweep(tmp_path / "flat"), opened).samplers(0, 0))


def searched(folder: Path, sweep: Sweep, best: float, lives: int = 10**6) -> list[float]:
    """How far from the best each trial lies along the option's scale, in a search that sees 1 - 2 distance^2."""
    distribution, away, done = sweep.space[0].distribution, [], None
    while done is not DONE:
        with record.Record(folder, sweep.objectives) as opened:
            controller = Controller(sweep, opened, first_in_first_out, lambda event: None, session="one")
            for _ in range(lives):
                done = controller.next()
                if done is DONE:
                    break
                assert isinstance(done, Job)
                away.append(abs(distribution.way(float(opened.trials()[-1].params["defense.beta"])) - best))
                costs = {"cost_seconds": 1.0, "cost_device_hours": 1 / 3600, "cost_passes": 1e6, "clean_accuracy": 0.5}
                controller.finish(
                    done, End("complete", None, {"robust_accuracy": max(0.0, 1 - 2 * away[-1] ** 2), **costs})
                )
    return away


def one_option(folder: Path, prior: float | None, seed: int, trials: int) -> Sweep:
    told = "" if prior is None else f", prior: {prior}"
    beta = f"trial.defense={{name: trades, beta: {{loguniform: [0.5, 32]{told}}}}}"
    schedule = "trial.schedule={name: one_cycle, epochs: 3, lr: 0.1}"
    return small_sweep(
        folder,
        beta,
        schedule,
        f"search.seed={seed}",
        f"search.trials={trials}",
        "objectives={robust_accuracy: max}",
        text=TPE,
    )


def test_a_right_prior_helps_and_a_wrong_one_costs_little(tmp_path: Path) -> None:
    """The best lies at a fifth of the scale. Regret is the distance of the nearest trial so far, in the mean over the search;
    a wrong prior, at the other end, costs at most a tenth of the scale more than none, and .03 of it at the end.
    """
    flat = Distribution.parse("loguniform", [0.5, 32])
    seeds, trials, best = 5, 18, 0.2
    regret, last = {}, {}
    for name, prior in {"flat": None, "right": flat.scaled(0.24), "wrong": flat.scaled(0.95)}.items():
        runs = [
            searched(tmp_path / f"{name}{seed}", one_option(tmp_path / "space", prior, seed, trials), best)
            for seed in range(seeds)
        ]
        nearest = np.minimum.accumulate(runs, axis=1).mean(axis=0)
        regret[name], last[name] = nearest.mean(), nearest[-1]
    assert regret["right"] < regret["flat"] / 2
    assert regret["wrong"] < regret["flat"] + 0.1
    assert last["wrong"] < last["flat"] + 0.03


def test_a_resumed_search_draws_from_the_prior_as_it_would_have(tmp_path: Path) -> None:
    sweep = one_option(tmp_path / "space", 4, 1, 14)
    whole = searched(tmp_path / "whole", sweep, 0.0)
    assert searched(tmp_path / "killed", sweep, 0.0, lives=3) == whole
    assert whole[0] == pytest.approx(0.5)  # the mode comes first
    assert sweep.space[0].distribution.prior is not UNKNOWN


def test_editors_know_priors() -> None:
    """One distribution, with a prior or without; a prior alone is nothing."""
    validator = Draft7Validator(schema())

    def right(beta: object) -> bool:
        trial = {"defense": {"name": "trades", "beta": beta}}
        return bool(
            validator.is_valid({"name": "x", "judge": {"data": "digits", "threat": {"eps": 0.1}}, "trial": trial})
        )

    assert right({"uniform": [0, 1], "prior": 0.5})
    assert right({"choice": [1, 6], "prior": 6})
    assert right({"uniform": [0, 1]})
    assert not right({"prior": 6})
    assert not right({"uniform": [0, 1], "int": [0, 1]})
    assert not right({"uniform": [0, 1], "prior": [6]})
