"""Averages in closed form, and what they share with the model: everything, or nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robustray.training import Averaging, Ema, NoAveraging
from robustray.training.average import Average
from tests.robustray.made import batch, network, same, state


def scalar(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=30),
    st.floats(0, 0.999),
    st.one_of(st.just(0.0), st.floats(0, 12)),
)
def test_ema_in_closed_form(values: list[float], decay: float, warmup: float) -> None:
    """sum over s of w_s (1 - d_s) d_{s+1} ... d_t, and what is left of the start."""
    model = scalar(3.0)
    average = Average(model, Ema(decay=decay, warmup=warmup))
    for step, value in enumerate(values, start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
    expected, left = 0.0, 1.0
    for step, value in reversed(list(enumerate(values, start=1))):
        elapsed = step - warmup
        d = 0.0 if elapsed < 0 else min(decay, (1 + elapsed) / (10 + elapsed))
        expected += left * (1 - d) * value
        left *= d
    assert next(average.model.parameters()).item() == pytest.approx(expected + left * 3.0, abs=1e-9)


def test_warmup_is_a_copy() -> None:
    model = network()
    average = Average(model, Ema(warmup=5))
    for step in range(1, 5):
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.5)
        average.update(step)
        assert same(state(average.model), state(model))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    average.update(5)
    assert not same(state(average.model), state(model))


def test_none_is_the_model() -> None:
    model = network()
    average = Average(model, NoAveraging())
    assert average.model is model
    before = state(model)
    average.update(1)
    assert same(state(model), before)
    assert all(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("rule", [Ema(), Ema(warmup=10)])
def test_an_average_shares_nothing_with_the_model(rule: Averaging) -> None:
    """Buffers made the same objects would move with later training: an old mistake of other people's code."""
    model = network()
    average = Average(model, rule)
    average.update(1)
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not own & {tensor.data_ptr() for tensor in average.model.state_dict().values()}
    held = state(average.model)
    model.train()(batch()[0])
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert same(state(average.model), held)
    assert not any(weight.requires_grad for weight in average.model.parameters())
    assert all(weight.requires_grad for weight in model.parameters())


def test_estimated_statistics_are_means_over_batches() -> None:
    """Of the averaged weights' own activations: mean of means, mean of unbiased variances; nothing else moves."""
    model = network()
    average = Average(model, Ema(decay=0.9, buffers="estimate"))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.3)
    average.update(1)
    before, live = state(average.model), state(model)
    batches = [batch(8, seed=seed)[0] for seed in range(3)]
    assert average.estimates
    average.estimate(iter(batches))

    first, norm = list(average.model.children())[:2]
    assert isinstance(norm, nn.BatchNorm2d)
    activations = torch.stack([first(x).transpose(0, 1).flatten(1) for x in batches])
    torch.testing.assert_close(norm.running_mean, activations.mean((0, 2)))
    torch.testing.assert_close(norm.running_var, activations.var(2).mean(0))
    assert norm.momentum == 0.1
    assert norm.training
    moved = {name for name, value in state(average.model).items() if not torch.equal(value, before[name])}
    assert moved == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert same(state(model), live)


def test_estimating_leaves_dropout_and_the_world_alone() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(2)).double().train()
    average = Average(model, Ema(buffers="estimate"))
    world, x = torch.get_rng_state(), batch(8)[0]
    average.estimate([x])
    norm = list(average.model.children())[1]
    assert isinstance(norm, nn.BatchNorm2d)
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    assert torch.equal(torch.get_rng_state(), world)


def test_only_batch_norm_is_estimated() -> None:
    assert not Average(nn.Linear(2, 2), Ema(buffers="estimate")).estimates
    assert not Average(network(), Ema()).estimates
    assert not Average(network(), NoAveraging()).estimates
