"""Buffers of an average are the model's, copied; weights alone are averaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustray.training import Averaging, Ema, NoAveraging, Trainer
from robustray.training.average import Average
from robustray.training.checkpoints import load
from tests.robustray.made import every, made, same, state, trial


class Counting(nn.Module):
    """Batch norm between two weights, and buffers of every type beside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.norm = nn.BatchNorm1d(3, momentum=0.25, dtype=torch.float64)
        self.register_buffer("seen", torch.tensor(0, dtype=torch.int64))
        self.register_buffer("flag", torch.tensor(False))
        self.register_buffer("coarse", torch.zeros(2, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.get_buffer("seen").add_(len(x))
        self.get_buffer("flag").logical_not_()
        self.get_buffer("coarse").add_(1)
        output: torch.Tensor = self.norm(x)
        return output * self.scale


@pytest.mark.parametrize("rule", [Ema(decay=0.9), Ema(decay=0.0), Ema(decay=0.9, warmup=2), Ema(buffers="estimate")])
def test_buffers_are_copied_after_every_step(rule: Averaging) -> None:
    """Batches of means 1, 2, 3, ... and variance 4: m_t = (1 - a) m_{t-1} + a t, v_t = 4 + (1 - a)^t (1 - 4), a = 1/4.

    An average of them would lag behind, and of an integer counter be no integer at all.
    """
    model = Counting().train()
    average = Average(model, rule)
    kept = average.model
    assert isinstance(kept, Counting)
    mean, weight, averaged = 0.0, 1.0, 1.0
    for t in range(1, 8):
        x = torch.tensor([[t - 1.0], [t + 1.0]], dtype=torch.float64).expand(2, 3) * 1.0
        x = t + (x - t) * 2**0.5  # unbiased variance 4
        model(x)
        weight *= 1.5
        with torch.no_grad():
            model.scale.fill_(weight)
        average.update(t)
        mean = 0.75 * mean + 0.25 * t
        d = rule.decay_at(t)
        averaged = d * averaged + (1 - d) * weight
        torch.testing.assert_close(kept.norm.running_mean, torch.full((3,), mean, dtype=torch.float64))
        torch.testing.assert_close(kept.norm.running_var, torch.full((3,), 4 - 3 * 0.75**t, dtype=torch.float64))
        assert kept.norm.num_batches_tracked is not None
        assert kept.norm.num_batches_tracked.dtype == torch.int64
        assert kept.norm.num_batches_tracked.item() == t
        assert (kept.get_buffer("seen").item(), kept.get_buffer("seen").dtype) == (2 * t, torch.int64)
        assert kept.get_buffer("flag").item() is bool(t % 2)
        assert kept.get_buffer("coarse").tolist() == [t, t]
        torch.testing.assert_close(kept.scale, torch.full((3,), averaged, dtype=torch.float64), check_dtype=True)


@every("averaging")
def test_after_training_only_weights_differ_from_the_models(cls: type[Averaging], tmp_path: Path) -> None:
    """Of an architecture with batch norm, in the trainer and in its checkpoint; the rule as it is by default."""
    config = trial(
        model={"name": "resnet18", "width": 1},
        averaging=made(cls),
        defense="natural",
        attack=None,
        batch={"size": 400},
        schedule={"name": "one_cycle", "epochs": 1, "lr": 0.2},
    )
    trainer = Trainer(config, tmp_path, device="cpu")
    trainer.run()
    live, kept = state(trainer.model), state(trainer.average.model)
    buffers = dict(trainer.model.named_buffers())
    assert any(value.dtype == torch.int64 and value == 3 for value in buffers.values())
    differ = {name for name in live if not torch.equal(live[name], kept[name])}
    assert not differ & buffers.keys()
    assert bool(differ) == (cls is not NoAveraging)
    written: dict[str, Any] = load(tmp_path / "last.pt")["average"]
    assert same(written, kept)


def test_a_weight_that_is_used_twice_is_averaged_once() -> None:
    """Of two layers with one weight, the averaged ones have one as well."""
    one, other = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    other.weight = one.weight
    model = nn.Sequential(one, other)
    average = Average(model, Ema(decay=0.5))
    with torch.no_grad():
        before = one.weight.clone()
        one.weight.add_(1)
    average.update(100)
    first, second = (layer.get_parameter("weight") for layer in average.model.children())
    assert first is second
    torch.testing.assert_close(first, before + 0.5)
