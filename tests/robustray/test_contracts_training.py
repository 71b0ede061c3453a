"""What every schedule, averaging, optimiser and update promises."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.training import Averaging, Optimiser, Schedule, Update
from robustray.training.average import Average
from robustray.training.averaging import Ema
from tests.robustray.made import Boom, batch, made, network, same, state, variants
from tests.robustray.minibatch import THREAT, cross_entropy, minibatch, slopes


@variants("schedule", "schedule")
def test_rates_of_any_length(schedule: Schedule) -> None:
    """Defined at every step of every length, a pure function of both, above zero, at most the rate that was asked for."""
    for total in (*range(1, 40), 100, 997):
        rates = [schedule.factor(step, total) for step in range(total)]
        assert all(0 < rate <= 1 for rate in rates), total
        assert [schedule.factor(step, total) for step in reversed(range(total))] == rates[::-1]
    assert max(schedule.factor(step, 1000) for step in range(1000)) > 0.99


@variants("schedule", "schedule")
def test_drops_are_where_the_rate_jumps(schedule: Schedule) -> None:
    """Everywhere else it is smooth: a curriculum may begin its stages at the drops."""
    total = 3000
    jumps = [step for step in range(1, total) if schedule.factor(step, total) < 0.9 * schedule.factor(step - 1, total)]
    assert [step for step in jumps if schedule.factor(step, total) > 0.01] == [
        step for step in (round(drop * total) for drop in schedule.drops) if schedule.factor(step, total) > 0.01
    ]
    assert sorted(schedule.drops) == list(schedule.drops)


@variants("schedule", "schedule")
def test_the_momentum_swings_no_wider_than_declared(schedule: Schedule) -> None:
    assert all(abs(schedule.swing(step, 100)) <= schedule.widest for step in range(100))


@variants("averaging", "averaging")
def test_decay_is_a_fraction(averaging: Averaging) -> None:
    decays = [averaging.decay_at(step) for step in range(1, 5000)]
    assert all(0 <= decay < 1 for decay in decays)
    assert decays == sorted(decays)  # the longer the training, the longer the memory


@variants("averaging", "averaging")
def test_average_of_constant_weights_is_the_weights(averaging: Averaging) -> None:
    model = network()
    average, before = Average(model, averaging), state(model)
    for step in range(1, 20):
        average.update(step)
    assert same(state(average.model), before)


@variants("averaging", "averaging")
def test_average_lies_between_old_and_new_and_copies_buffers(averaging: Averaging) -> None:
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


class Twice(nn.Module):
    """A network that uses a normalisation layer twice in a pass, as plug-ins may."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2, momentum=0.3, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(2 * self.norm(x) + 3)  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", [network(), Twice()], ids=["once", "twice"])
def test_estimated_statistics_are_means_over_all_passes(model: nn.Module) -> None:
    """As torch has them for `momentum=None`, which asks the device at every pass."""
    batches = [batch(seed=seed)[0] for seed in range(4)]
    wanted = copy.deepcopy(model).eval()
    for norm in (module for module in wanted.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in batches:
        wanted(x)
    average = Average(model, Ema())
    average.estimate(batches)
    for name, value in state(wanted).items():
        torch.testing.assert_close(average.model.state_dict()[name], value)

    def failing() -> Iterator[Tensor]:
        yield batches[0]
        raise Boom

    before = [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    with pytest.raises(Boom):
        average.estimate(failing())
    norms = [module for module in average.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert [norm.momentum for norm in norms] == before
    assert not any(norm._forward_pre_hooks for norm in norms)


@variants("averaging", "averaging")
def test_average_travels(averaging: Averaging) -> None:
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


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> None:
    model.zero_grad()
    F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]


@variants("optimiser", "optimiser")
def test_optimiser_descends_with_the_schedules_rate(optimiser: Optimiser) -> None:
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


@variants("optimiser", "optimiser")
def test_optimiser_travels(optimiser: Optimiser) -> None:
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


@variants("update", "update")
def test_update_leaves_a_gradient_and_comes_back(update: Update) -> None:
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


@variants("update", "update")
def test_update_declares_what_it_does(update: Update) -> None:
    """How often it makes x', how often it asks for a gradient, how many optimiser steps it makes."""
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
    assert update.passes(1000, 1) == 1000 * attacks + gradients
    assert update.descents == descents


@variants("update", "update")
def test_update_travels(update: Update) -> None:
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


@variants("update", "update")
def test_update_draws_from_its_own_stream(update: Update) -> None:
    model, (x, y) = network().train(), batch()
    world = torch.get_rng_state()
    update.bind(model)(minibatch(model, x, cross_entropy(model, y)))
    assert torch.equal(torch.get_rng_state(), world)


def test_made_parts_are_parts() -> None:
    """The factory of these suites makes what it says: a typo in it would leave a contract unchecked."""
    from robustray.registry import parts

    assert all(isinstance(made(cls), cls) for kind in ("schedule", "averaging") for cls in parts(kind).values())
