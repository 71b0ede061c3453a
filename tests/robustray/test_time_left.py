"""How much work is left: the attacks' real forward passes, and a clock that is right when the world is regular."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robustray.attacks import Threat, autoattack
from robustray.attacks.norms import Norm
from robustray.attacks.versions import VERSIONS, AttackName, Strength
from robustray.judging.plan import CLAIMED, EARLY, JOINED
from robustray.judging.time_left import Clock, forwards, work
from robustray.verdicts import CLEAN
from tests.robustray.made import linear

STANDARD: tuple[tuple[Strength, AttackName], ...] = tuple(("standard", attack) for attack in get_args(AttackName))
OTHERS: tuple[tuple[Strength, AttackName], ...] = (("plus", "apgd-ce"), ("plus", "fab"), ("rand", "apgd-ce"))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize(("power", "attack"), STANDARD + OTHERS)
def test_forwards_are_those_of_the_attacks(power: Strength, attack: AttackName, norm: Norm) -> None:
    """Counted on two images that nothing breaks, by a model of twelve classes."""
    weight = torch.zeros(12, 36)
    weight[torch.arange(12), torch.arange(12)] = 100
    model = linear(weight).eval().requires_grad_(False)
    x = torch.full((2, 36), 0.5)
    x[torch.arange(2), torch.arange(2)] = 1
    calls: list[int] = []
    model.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    x_adv, _ = autoattack.run(attack, model, x.view(2, 1, 6, 6), torch.arange(2), Threat(norm=norm, eps=0.01), 0, power)
    first, *theirs = calls
    assert first == 1, "how many classes there are is asked once"
    assert theirs == [2] * forwards(attack, norm, power)
    assert model(x_adv).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_settings_that_two_versions_share_cost_the_same(norm: str) -> None:
    for attack in ("apgd-t", "fab-t", "square"):
        if norm != "l1" or attack != "apgd-t":  # standard has larger radii in l1, and fewer targets
            assert forwards(attack, norm, "plus") == forwards(attack, norm, "standard")
    for power in ("standard", "plus", "rand"):
        assert forwards("apgd-ce", norm, power) == forwards("apgd-dlr", norm, power)


def test_every_stage_costs_something_and_no_attack_is_cheaper_than_a_look() -> None:
    for version, attacks in VERSIONS.items():
        for norm in ("linf", "l2", "l1"):
            costs = [work(attack, norm, version) for attack in attacks]
            assert min(costs) > work(CLEAN, norm, version) == work(EARLY, norm, version) > 0
    assert work(JOINED, "linf", "standard") == work(CLAIMED, "linf", "standard") > 0


SPEED = 0.25  # seconds per unit of work


def run_through(clock: Clock, shards: list[int], stage: str, broken: list[int] | None = None) -> list[int]:
    """A stage on every shard at constant speed; what is left of each."""
    for index, images in enumerate(shards):
        fallen = broken[index] if broken else 0
        clock.finished(stage, images, fallen, images * clock.stages[stage] * SPEED)
        shards[index] -= fallen
    return shards


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=6), st.lists(st.floats(1, 500), min_size=2, max_size=5), st.data()
)
def test_time_left_is_exact_where_the_speed_is_constant_and_nothing_breaks(
    sizes: list[int], costs: list[float], data: st.DataObject
) -> None:
    """After any number of whole stages, shards of the next one, and a part of one more."""
    stages = {f"s{number}": cost for number, cost in enumerate(costs)}
    images, workers = sum(sizes), data.draw(st.integers(1, 4))
    clock = Clock(stages, images, workers)
    names = list(stages)
    jobs = [(name, size) for name in names for size in sizes]
    through = data.draw(st.integers(1, len(jobs)))
    for name, size in jobs[:through]:
        clock.finished(name, size, 0, size * stages[name] * SPEED)
    running, elapsed = {}, 0.0
    if through < len(jobs):
        name, size = jobs[through]
        fraction = data.draw(st.floats(0, 1))
        running, elapsed = {name: fraction * size}, fraction * size * stages[name] * SPEED
    done = sum(size * stages[name] for name, size in jobs[:through]) + elapsed / SPEED
    total = images * sum(costs)
    left = clock.seconds_left(running, elapsed)
    if done * SPEED < 3:
        assert left is None or done * SPEED == pytest.approx(3)
    else:
        assert left == pytest.approx((total - done) * SPEED / workers, abs=1e-6 * total)
    assert clock.done(running) == pytest.approx(done / total)
    shares = [clock.share(name, running) for name in names]
    assert sum(shares) == pytest.approx(1) or clock.done(running) == pytest.approx(1)


@given(st.data())
def test_time_left_is_an_upper_bound_that_knows_what_is_broken(data: st.DataObject) -> None:
    """Of images that earlier stages broke, none is counted for later ones; what is broken later only makes it shorter."""
    shards = data.draw(st.lists(st.integers(5, 50), min_size=1, max_size=5))
    stages = {"clean": 5.0, "a": 200.0, "b": 900.0, "c": 3000.0}
    clock = Clock(stages, sum(shards))
    names = list(stages)
    for number, name in enumerate(names):
        broken = [data.draw(st.integers(0, images)) for images in shards]
        shards = run_through(clock, shards, name, broken)
        exact = sum(shards) * sum(stages[later] for later in names[number + 1 :]) * SPEED  # if nothing more breaks
        left = clock.seconds_left()
        assert left is None or left == pytest.approx(exact, rel=1e-6, abs=1e-6)
        assert clock.left[name] == 0
        assert all(clock.left[later] == sum(shards) for later in names[number + 1 :])
    assert clock.done({}) == 1


def test_nothing_is_said_before_there_is_anything_to_go_by() -> None:
    clock = Clock({"clean": 5.0, "a": 100.0}, 10)
    assert clock.seconds_left() is None
    clock.finished("clean", 10, 0, 2.9)
    assert clock.seconds_left() is None
    assert clock.seconds_left({"a": 1.0}, 0.2) == pytest.approx(3.1 / 150 * 900)
    assert clock.share("a", {"a": 1.0}) == 1
