"""The race: decisions on fields made by hand, and whole searches over made-up curves."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.record.constraints import Limit, Limits
from sweeps.search.field import Choice, Curve, Field, Nothing, Resume, Rung, Start, State
from sweeps.search.race import Race, RaceOptions
from sweeps.search.race.encoding import Encoding
from sweeps.search.race.race import trust
from sweeps.space.distributions import Distribution, Parameter
from tests.sweeps.raced import EPOCHS, SHARES, SPACE, any_setting, ask, curve, field, rung, search, truth

SMALL = RaceOptions(candidates=24, mutations=24, refinements=8, refined=4)


def race(**options: object) -> Race:
    return Race(SPACE, ask, options=replace(SMALL, **options))  # type: ignore[arg-type]


@cache
def run(seed: int = 0) -> tuple[list[tuple[Field, Choice]], list[Curve]]:
    return search(race(), 10.0, seed=seed)


def history(seed: int, n: int) -> list[Curve]:
    """Trials in all states, their values drawn around the truth."""
    rng = np.random.default_rng(seed)
    curves, order = [], 0
    for number in range(n):
        params = any_setting(rng)
        state = str(rng.choice(["paused", "paused", "complete", "running", "failed", "stopped"]))
        reached = {"complete": 3, "paused": int(rng.integers(1, 3)), "stopped": 1}.get(state, int(rng.integers(0, 3)))
        reports = []
        for index in range(reached):
            clean, robust = np.array(truth(params)) - 0.15 * (1 - EPOCHS[index] / 27) + 0.01 * rng.standard_normal(2)
            reports.append(rung(index, order, float(clean), float(robust)))
            order += 1
        made = curve(number, reports, state, params)
        curves.append(replace(made, until=reached) if state == "running" else made)
    return curves


def test_the_first_are_drawn_at_random_and_differ() -> None:
    curves: list[Curve] = []
    for number in range(8):
        choice = race().choose(field(curves, number))
        assert isinstance(choice, Start)
        assert choice.params is not None
        curves.append(curve(number, [rung(0, number, 0.5, 0.5)], params=choice.params))
    assert len({str(each.params) for each in curves}) == 8
    assert race(sampler_draws=True).choose(field(curves[:7])) == Start()
    assert race(sampler_draws=True).choose(field(curves)) != Start()


def test_what_it_remembers_only_saves_time() -> None:
    """One that saw all decides as a new one does of the same field."""
    seen, _ = run()
    assert len(seen) > 18
    for now, choice in [*seen[8::6], seen[-1]]:
        assert race().choose(now) == choice


@given(st.lists(st.integers(0, 5), min_size=2, max_size=3))
@settings(max_examples=4, deadline=None)
def test_decisions_do_not_depend_on_fields_that_were_seen(seeds: list[int]) -> None:
    """Fields of other searches, longer and shorter, and of other limits: nothing of them is left."""
    old = race()
    for seed in seeds:
        rng = random.Random(seed)
        limits = {"robust_accuracy": Limit(min=0.3)} if seed % 2 else {}
        now = field(history(seed, rng.randint(9, 20)), decisions=seed, seed=seed, limits=limits)
        assert old.choose(now) == race().choose(now)


@given(st.lists(st.tuples(st.integers(0, 19), st.sampled_from(["stopped", "failed", "paused", "running"])), max_size=8))
@settings(max_examples=15, deadline=None)
def test_a_model_stands_while_nothing_was_learnt_and_no_longer(changes: list[tuple[int, State]]) -> None:
    """Between two decisions trials that wait are stopped, go on or fail: it decides as one that has not seen them before."""
    old, curves = Race(SPACE, ask, options=SMALL, keep_paused=4), list(history(6, 20))
    old.choose(field(curves))
    for at, state in changes:
        curves[at] = replace(curves[at], state=state)
        now, new = field(list(curves), decisions=at), Race(SPACE, ask, options=SMALL, keep_paused=4)
        assert old.given_up(now) == new.given_up(now)
        assert old.choose(now) == new.choose(now)


def test_draws_move_on_with_decisions_and_seeds() -> None:
    curves = history(1, 12)
    chosen = [race(random_share=1.0, guard=0).choose(field([], at, seed)) for at, seed in ((0, 0), (1, 0), (0, 1))]
    assert len({str(choice) for choice in chosen}) == 3
    assert race().choose(field(curves, 4)) == race().choose(field(list(curves), 4))


def test_no_setting_is_tried_twice_and_paused_trials_alone_go_on() -> None:
    seen, curves = run()
    tried = [str(sorted(each.params.items())) for each in curves]
    assert len(set(tried)) == len(tried)
    kinds = Counter(type(choice) for _, choice in seen)
    assert kinds[Start] > 8
    assert kinds[Resume] > 5


def test_it_finds_what_is_better_than_chance() -> None:
    """Of as many trainings, the sum of gains over three searches is above that of settings drawn at random."""

    def best(curves: list[Curve]) -> float:
        return sum(sorted((sum(truth(each.params)) for each in curves if each.state == "complete"), reverse=True)[:3])

    chance = [
        sum(sorted((sum(truth(any_setting(r))) for _ in range(10)), reverse=True)[:3])
        for r in map(np.random.default_rng, (5, 6))
    ]
    assert sum(best(run(seed)[1]) for seed in (0, 1)) > sum(chance)


def test_every_setting_was_tried() -> None:
    """Of a small space nothing is left: paused ones go on, then nothing is worth doing, or the sampler has to say."""
    parameter = Parameter("n", Distribution("choice", choices=("a", "b")))

    def of_two(options: RaceOptions) -> Race:
        return Race([parameter], lambda suggest: {"n": suggest(parameter)}, options=options)

    both = [curve(n, [rung(0, n, 0.5 + n / 10, 0.5)], params={"n": "ab"[n]}) for n in range(2)]
    for options in (SMALL, replace(SMALL, start=2)):
        assert isinstance(of_two(options).choose(field(both)), Resume)
    running = [replace(each, state="running") for each in both]
    assert of_two(SMALL).choose(field(running)) == Nothing()
    done = [replace(each, state="stopped") for each in both]
    assert of_two(SMALL).choose(field(done)) == Start()


def well_known(last: tuple[float, float] = (0.9, 0.5)) -> list[Curve]:
    """Twelve whole trainings of which the accuracies are alike, and one paused."""
    rng = np.random.default_rng(3)
    curves, order = [], 0
    for number in range(12):
        clean, robust = 0.8 + 0.01 * rng.random(), 0.4 + 0.01 * rng.random()
        reports = [rung(index, order + index, clean, robust) for index in range(3)]
        order += 3
        curves.append(curve(number, reports, "complete", any_setting(rng)))
    return [*curves, curve(12, [rung(0, order, *last), rung(1, order + 1, *last)], "paused", any_setting(rng))]


def test_a_paused_trial_that_promises_much_goes_on() -> None:
    assert race(guard=0, own_values=True).choose(field(well_known())) == Resume(12)
    assert isinstance(race(guard=0, own_values=True).choose(field(well_known((0.3, 0.1)))), Start)


def test_what_gains_nothing_in_the_region_of_interest_does_not_go_on() -> None:
    """As good as it may be outside."""
    clean_end = well_known((0.95, 0.3))
    assert race(guard=0, own_values=True).choose(field(clean_end)) == Resume(12)
    limits = {"robust_accuracy": Limit(min=0.38)}
    assert isinstance(race(guard=0, own_values=True).choose(field(clean_end, limits=limits)), Start)
    limits = {"clean_accuracy": Limit(max=0.9)}
    assert isinstance(race(guard=0, own_values=True).choose(field(clean_end, limits=limits)), Start)


def test_limits_of_costs_are_kept_to() -> None:
    """Deep networks are the most accurate here, and cost too much: new settings are others."""
    rng, curves, order = np.random.default_rng(0), [], 0
    for number in range(18):
        params = any_setting(rng)
        deep = params["kind"] == "deep"
        more = {"cost_passes": 900.0 if deep else 100.0}
        reports = [
            rung(i, order + i, 0.7 + 0.2 * deep + 0.01 * rng.random(), 0.5 + 0.2 * deep, **more) for i in range(3)
        ]
        order += 3
        curves.append(curve(number, reports, "complete", params))
    options = {"guard": 0, "random_share": 0.0}

    def kinds(limits: Limits) -> list[object]:
        fields = [field(curves, decisions, limits=limits) for decisions in range(5)]
        chosen = [race(**options).choose(each) for each in fields]
        return [choice.params["kind"] for choice in chosen if isinstance(choice, Start) and choice.params]

    assert kinds({}).count("deep") >= 4
    assert kinds({"cost_passes": Limit(max=500.0)}).count("deep") <= 1


def test_something_goes_on_where_nothing_finished() -> None:
    """At every third decision, unless one of the last three reports was an end, or a trial is on its way to one."""
    curves = [
        curve(n, [rung(0, n, 0.5, 0.5 + n / 100)], params=any_setting(np.random.default_rng(n))) for n in range(9)
    ]
    always = {"cost_power": 0.0, "random_share": 1.0}
    assert isinstance(race(**always).choose(field(curves, 3)), Resume)
    ended = replace(curves[8], state="complete", rungs=tuple(rung(i, 9 + i, 0.2, 0.2) for i in range(3)))
    near = replace(curves[8], state="running", until=2)
    for others in ([*curves[:8], ended], [*curves[:8], near]):
        policy = race(**always)
        assert policy.choose(field(others, 3)) == race(**always, guard=0).choose(field(others, 3))


def test_nothing_begins_that_could_not_come_to_its_end() -> None:
    """Once less than a whole training is left: however little a paused trial promises, it can be finished."""
    curves = well_known((0.3, 0.1))
    for policy in (race(guard=0), race(guard=0, own_values=True)):
        for left, kind in ((1.0, Start), (0.99, Resume), (0.01, Resume)):
            choice = policy.choose(field(curves, spent=20 - left, budget=20.0))
            assert isinstance(choice, kind), (left, choice)
    complete = [each for each in curves if each.state != "paused"]
    assert isinstance(race(guard=0).choose(field(complete, spent=19.5, budget=20.0)), Start)


def test_trials_go_to_the_end_at_once_without_pausing() -> None:
    seen, curves = search(race(pausing=False), 6.0)
    assert len([each for each in curves if each.state == "complete"]) >= 5
    for now, choice in seen:
        assert isinstance(choice, Resume) == any(each.state == "paused" for each in now.curves)


@pytest.mark.parametrize("option", ["own_values", "thompson", "random_horizon", "explore", "whole_first"])
def test_variants_are_pure_as_well(option: str) -> None:
    for seed in (2, 3):
        now = field(history(seed, 14), decisions=7, seed=seed)
        assert race(**{option: True}).choose(now) == race(**{option: True}).choose(now)


@given(st.integers(0, 5))
@settings(max_examples=4, deadline=None)
def test_units_do_not_matter(seed: int) -> None:
    """Of an objective that is no share of images, and of seconds."""

    def measured(unit: float, second: float) -> Field:
        def other(report: Rung) -> Rung:
            cost = unit * (2 - report.metrics["robust_accuracy"])
            metrics = {"clean_accuracy": report.metrics["clean_accuracy"], "cost_passes": cost}
            return replace(report, metrics=metrics, seconds=second * report.seconds)

        curves = [replace(each, rungs=tuple(map(other, each.rungs)), final=None) for each in history(seed, 14)]
        return Field(curves, {"clean_accuracy": "max", "cost_passes": "min"}, SHARES, decisions=1, seed=seed)

    one, other = race().choose(measured(1.0, 1.0)), race().choose(measured(2.0**10, 2.0**-3))
    assert type(one) is type(other)
    assert one == other


@pytest.mark.parametrize("objectives", [("clean_accuracy",), ("clean_accuracy", "robust_accuracy", "loss")])
def test_any_number_of_objectives(objectives: tuple[str, ...]) -> None:
    curves = []
    for each in history(4, 16):
        rungs = tuple(
            replace(r, metrics={**r.metrics, "loss": 1 - r.metrics["clean_accuracy"] ** 2}) for r in each.rungs
        )
        curves.append(replace(each, rungs=rungs))
    modes = {name: "min" if name == "loss" else "max" for name in objectives}
    choices = [race(guard=0).choose(Field(curves, modes, SHARES, decisions=at)) for at in range(3)]
    assert all(isinstance(choice, Start | Resume) for choice in choices)


def test_trials_from_elsewhere_count_as_whole() -> None:
    """They have no rungs: what they came to at last is known."""
    curves = history(5, 14)
    best = {"clean_accuracy": 0.99, "robust_accuracy": 0.99}
    params = any_setting(np.random.default_rng(9))
    imported = Curve(14, params, "complete", 27, final=best)
    given_params = race(guard=0, random_share=0.0).choose(field([*curves, imported]))
    assert isinstance(given_params, Start | Resume)
    if isinstance(given_params, Start):
        assert given_params.params != params


def test_given_up_are_those_that_promise_least() -> None:
    policy = Race(SPACE, ask, options=SMALL, keep_paused=3)
    now = field(history(6, 20))
    paused = {each.number for each in now.curves if each.state == "paused"}
    given_up = policy.given_up(now)
    assert len(given_up) == len(paused) - 3
    assert set(given_up) <= paused
    assert not race().given_up(now)
    chosen = Race(SPACE, ask, options=replace(SMALL, guard=1), keep_paused=3).choose(
        replace(
            now,
            curves=[
                each
                for each in now.curves
                if each.state != "complete" and not (each.state == "running" and each.until == 2)
            ],
        )
    )
    assert isinstance(chosen, Resume)


def test_as_many_wait_as_may_though_fewer_are_weighed() -> None:
    """Those that are not weighed are given up last first, and by how many were before them at their rung."""
    now = field(history(6, 40))
    paused = {each.number for each in now.curves if each.state == "paused"}
    given_up: list[set[int]] = []
    for keep in range(1, len(paused) + 1):
        policy = Race(SPACE, ask, options=replace(SMALL, weighed=6), keep_paused=keep)
        given_up.append(set(policy.given_up(now)))
        assert len(given_up[-1]) == len(paused) - keep
    assert all(fewer <= more for more, fewer in pairwise(given_up)), "who waits with fewer waits with more"
    alike = [curve(n, [rung(0, n, 0.9 - n / 100, 0.5 - n / 100)]) for n in range(30)]
    assert set(Race(SPACE, ask, options=replace(SMALL, weighed=8), keep_paused=20).given_up(field(alike))) <= {
        *range(15, 30)
    }


class Near:
    """A prior for small beta."""

    def log_density(self, params: Mapping[str, object]) -> float:
        """Lower the larger beta is."""
        return -10 * float(np.log(float(params["beta"]) / 0.5))  # type: ignore[arg-type]

    def draw(self, rng: np.random.Generator) -> Mapping[str, object]:
        """Anything but for beta, which is small."""
        return {**any_setting(rng), "beta": 0.5 * float(np.exp(0.1 * rng.random()))}


def test_priors_come_first_and_wash_out() -> None:
    """At few trials by far; a weight of nothing leaves the model's choice but for the draws."""

    def betas(weight: float) -> list[float]:
        curves = history(7, 12)
        policy = Race(SPACE, ask, options=replace(SMALL, guard=0, random_share=0.0, prior_weight=weight), prior=Near())
        chosen = [policy.choose(field([e for e in curves if e.state != "paused"], decisions=at)) for at in range(4)]
        return [float(c.params["beta"]) for c in chosen if isinstance(c, Start) and c.params]  # type: ignore[arg-type]

    with_start = Race(SPACE, ask, options=SMALL, prior=Near()).choose(field([]))
    assert isinstance(with_start, Start)
    assert with_start.params is not None
    assert float(with_start.params["beta"]) < 0.51  # type: ignore[arg-type]
    assert max(betas(1000.0)) < 0.6
    assert max(betas(0.0)) > 0.6


@given(
    scores=st.lists(st.integers(0, 6).map(float), min_size=2, max_size=24).map(np.array),
    share=st.floats(0.1, 0.9),
    n=st.integers(1, 60),
    strength=st.floats(1, 20),
)
def test_a_prior_is_believed_as_far_as_it_ranks(
    scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]], share: float, n: int, strength: float
) -> None:
    """The formula, pair by pair."""
    count = min(max(int(share * len(scores)), 1), len(scores) - 1)
    pairs = [(one > other) + (one == other) / 2 for one in scores[:count] for other in scores[count:]]
    wanted = (strength + n * (2 * float(np.mean(pairs)) - 1)) / (strength + n)
    assert trust(scores, count, n, strength) == pytest.approx(min(max(wanted, 0.0), 1.0))
    assert trust(scores, count, n, np.inf) == trust(scores, 0, n, strength) == 1.0


def test_a_prior_that_is_worst_of_all_is_given_up_and_one_that_is_best_is_not() -> None:
    bad, good = np.array([0.0, 0.1, 0.5, 0.6, 0.7]), np.array([0.9, 0.8, 0.5, 0.6, 0.7])
    assert [trust(bad, 2, n, 8.0) for n in (8, 30)] == [0.0, 0.0]
    assert trust(bad, 2, 1, 8.0) == pytest.approx(7 / 9)
    assert [trust(good, 2, n, 8.0) for n in (1, 8, 30)] == [1.0, 1.0, 1.0]


def test_replicates_are_more_values_of_one_setting() -> None:
    curves = history(8, 12)
    twin = replace(curves[0], number=12, replicate_of=0, seed=5)
    choice = race(guard=0).choose(field([*curves, twin]))
    encoding = Encoding(SPACE, ask)
    if isinstance(choice, Start) and choice.params:
        tried = encoding.keys(np.stack([encoding.coordinates(each.params) for each in curves]))
        assert encoding.keys(encoding.coordinates(choice.params)[None])[0] not in tried
    assert isinstance(choice, Start | Resume)
