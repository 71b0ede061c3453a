"""What every schedule, averaging, curriculum, optimiser and update promises."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.testing.made import batch, network, same, state
from robustray.testing.minibatch import THREAT, cross_entropy, minibatch, slopes
from robustray.testing.options import remade
from robustray.testing.suite import contract
from robustray.training.average import Average
from robustray.training.averaging import Averaging
from robustray.training.curricula import Amounts, Curriculum, Moment
from robustray.training.optimisers import Optimiser
from robustray.training.schedules import MultiStep, Schedule
from robustray.training.updates import Update


@contract("schedule")
def rates_are_defined_for_any_length(schedule: Schedule) -> None:
    """Defined at every step of every length, a pure function of both, above zero, at most the rate that was asked for."""
    for total in (*range(1, 40), 100, 997):
        rates = [schedule.factor(step, total) for step in range(total)]
        assert all(0 < rate <= 1 for rate in rates), total
        assert [schedule.factor(step, total) for step in reversed(range(total))] == rates[::-1]
    assert max(schedule.factor(step, 1000) for step in range(1000)) > 0.99


@contract("schedule")
def warm_up_is_linear_and_moves_nothing_else(schedule: Schedule) -> None:
    """So many epochs or a fraction of training, in which the rate is that of the schedule times a line from 0 to 1.

    A schedule whose rise is its own may take fractions alone, and has no other.
    """
    tried = 0
    for warmup, part in ((0.25, 0.25), (2, 0.2), (2.5, 0.25)):
        try:
            rising = remade(schedule, epochs=10, lr=0.5, warmup=warmup)
        except ValidationError:
            continue
        assert isinstance(rising, Schedule)
        tried += 1
        for total in (10, 37, 1000):
            steps = rising.rising(total)
            assert steps in (0, round(part * total))
            for step in range(total):
                line = min(1, (step + 1) / steps) if steps else 1
                assert math.isclose(rising.rate(step, total), 0.5 * rising.factor(step, total) * line)
    assert tried


@contract("schedule")
def drops_are_where_the_rate_jumps(schedule: Schedule) -> None:
    """Everywhere else it is smooth: a curriculum may begin its stages at the drops."""
    total = 3000
    jumps = [step for step in range(1, total) if schedule.factor(step, total) < 0.9 * schedule.factor(step - 1, total)]
    assert [step for step in jumps if schedule.factor(step, total) > 0.01] == [
        step for step in (round(drop * total) for drop in schedule.drops) if schedule.factor(step, total) > 0.01
    ]
    assert sorted(schedule.drops) == list(schedule.drops)


@contract("schedule")
def momentum_shifts_no_further_than_declared(schedule: Schedule) -> None:
    """No momentum shift is larger than `largest_momentum_shift`."""
    assert all(abs(schedule.momentum_shift(step, 100)) <= schedule.largest_momentum_shift for step in range(100))


@contract("averaging")
def decay_is_a_fraction(averaging: Averaging) -> None:
    """Every decay is in [0, 1), and the longer the training, the longer the memory."""
    decays = [averaging.decay_at(step) for step in range(1, 5000)]
    assert all(0 <= decay < 1 for decay in decays)
    assert decays == sorted(decays)


@contract("averaging")
def average_of_constant_weights_is_the_weights(averaging: Averaging) -> None:
    """Where weights stay, their average is them, bit for bit."""
    model = network()
    average, before = Average(model, averaging), state(model)
    for step in range(1, 20):
        average.update(step)
    assert same(state(average.model), before)


@contract("averaging")
def average_lies_between_old_and_new_and_copies_buffers(averaging: Averaging) -> None:
    """Weights are between old and new, buffers the model's, and the model stays."""
    model = network()
    average, old = Average(model, averaging), state(model)
    model.train()(batch()[0])  # moves the buffers
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)
    average.update(1)
    new = state(model)
    weights = {name for name, _ in model.named_parameters()}
    for name, value in state(average.model).items():
        if name in weights:
            assert ((value >= old[name]) & (value <= new[name])).all()
        else:
            assert torch.equal(value, new[name])
    assert same(state(model), new)  # the model itself is never touched


@contract("averaging")
def average_travels(averaging: Averaging) -> None:
    """Everything it is lies in the averaged model's state and the step number: resuming needs nothing else."""
    model = network()
    first = Average(model, averaging)
    for step in range(1, 4):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.1)
        first.update(step)
    other = network(seed=1)
    other.load_state_dict(model.state_dict())
    second = Average(other, averaging)
    second.model.load_state_dict(first.model.state_dict())
    for average, live in ((first, model), (second, other)):
        with torch.no_grad():
            for weight in live.parameters():
                weight.mul_(0.7)
        average.update(4)
    assert same(state(first.model), state(second.model))


MOMENTS = [Moment(step, 300, 10, MultiStep(epochs=30, milestones=(0.2, 0.4, 0.6, 0.8))) for step in range(300)]
"""All batches of a training."""
BOUNDS = {
    "eps_scale": (0, 1),
    "step_scale": (0, 100),
    "beta_scale": (0, 100),
    "rotation": (0, 180),
    "translation": (0, 1000),
}


@contract("curriculum")
def amounts_are_a_function_of_the_moment(curriculum: Curriculum) -> None:
    """In whatever order they are asked for; within bounds, and nothing moves but what `changed` names."""
    there = [curriculum.at(moment) for moment in MOMENTS]
    assert [curriculum.at(moment) for moment in reversed(MOMENTS)] == there[::-1]
    for name, (least, most) in BOUNDS.items():
        values = {getattr(amounts, name) for amounts in there}
        assert all(least <= value <= most for value in values), f"{name}: {min(values)} to {max(values)}"
        changed = values != {getattr(Amounts(), name)}
        assert name in curriculum.changed or not changed, f"{name} changes, and is not in `changed`"


@contract("curriculum")
def what_is_left_out_leaves_the_rest(curriculum: Curriculum) -> None:
    """Without all that it changes there is none; without one thing the others are as they were."""
    assert set(BOUNDS) == set(Amounts._fields)
    assert curriculum.changed <= set(BOUNDS)
    assert curriculum.without(curriculum.changed) is None
    for name in sorted(curriculum.changed):
        rest = curriculum.without({name})
        assert (rest is None) == (curriculum.changed == {name})
        for moment in MOMENTS:
            if rest is None:
                break
            left, whole = rest.at(moment)._asdict(), curriculum.at(moment)._asdict()
            assert all(left[other] == whole[other] for other in set(BOUNDS) - {name})


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> None:
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]


@contract("optimiser")
def optimiser_descends_with_the_schedules_rate(optimiser: Optimiser) -> None:
    """No rate of its own: at rate zero nothing moves, at a small one the loss falls, every weight along."""
    model, (x, y) = network().eval(), batch()
    built = optimiser.build(model)
    before, loss = state(model), F.cross_entropy(model(x), y).item()
    gradients(model, x, y)
    built.step()
    assert same(state(model), before)
    for group in built.param_groups:
        group["lr"] = 1e-3
    built.step()
    assert F.cross_entropy(model(x), y).item() < loss
    after = state(model)
    assert all(not torch.equal(after[name], before[name]) for name, _ in model.named_parameters())


@contract("optimiser")
def optimiser_travels(optimiser: Optimiser) -> None:
    """State saved between two steps: the steps that follow are the same, bit for bit."""
    x, y = batch()
    model = network().eval()
    built = optimiser.build(model)

    def steps(model: nn.Module, built: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            gradients(model, x, y)
            for group in built.param_groups:
                group["lr"] = 0.01
            built.step()

    steps(model, built, 3)
    other = copy.deepcopy(model)
    again = optimiser.build(other)
    again.load_state_dict(copy.deepcopy(built.state_dict()))
    steps(model, built, 3)
    steps(other, again, 3)
    assert same(state(model), state(other))


@contract("update")
def update_leaves_a_gradient_and_comes_back(update: Update) -> None:
    """What is returned is a loss at an x' inside the threat; the weights are where they were, each with a gradient."""
    model, (x, y) = network().eval(), batch()
    before, asked = state(model), list[Tensor]()

    def value(x_adv: Tensor) -> Tensor:
        asked.append(x_adv.detach().clone())
        return F.cross_entropy(model(x_adv), y)

    loss = update.bind(model)(minibatch(model, x, value, attack=lambda: (x + 0.01).clamp(0, 1)))
    assert asked
    assert not any(THREAT.violated(x_adv, x) for x_adv in asked)
    assert same(state(model), before)
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    assert loss.total.isfinite()


@contract("update")
def update_declares_what_it_does(update: Update) -> None:
    """Whether it asks for x' or makes it, and how many optimiser steps it makes."""
    model, (x, y) = network().eval(), batch()
    attacks, gradients, descents = 0, 0, 1  # the last descent is the trainer's

    def attack() -> Tensor:
        nonlocal attacks
        attacks += 1
        return x

    def value(x_adv: Tensor) -> Tensor:
        nonlocal gradients
        gradients += 1
        return F.cross_entropy(model(x_adv), y)

    def descend() -> None:
        nonlocal descents
        descents += 1

    update.bind(model)(minibatch(model, x, value, attack=attack, descend=descend))
    assert update.descents == descents
    assert (attacks > 0) != update.own_attack
    assert gradients


@contract("update")
def update_travels(update: Update) -> None:
    """State saved between two batches: the next gradient is the same, bit for bit."""
    model, (x, y) = network().train(), batch()
    first = update.bind(model)
    first(minibatch(model, x, cross_entropy(model, y)))
    other = copy.deepcopy(model)
    second = update.bind(other)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for bound, net in ((first, model), (second, other)):
        bound(minibatch(net, x, cross_entropy(net, y), seed=1))
    assert same(slopes(model), slopes(other))
    assert same(state(model), state(other))


@contract("update")
def update_draws_from_its_own_stream(update: Update) -> None:
    """The global generator stays where it was."""
    model, (x, y) = network().train(), batch()
    world = torch.get_rng_state()
    update.bind(model)(minibatch(model, x, cross_entropy(model, y)))
    assert torch.equal(torch.get_rng_state(), world)
