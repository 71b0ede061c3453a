"""The guard of one-step training: it sees a collapse, gives the weights before back, and ends training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustray.attacks import Threat
from robustray.data.base import Images
from robustray.data.device import DeviceImages
from robustray.training import Trainer
from robustray.training.overfitting import Guard
from tests.robustray.made import linear, same, state, trial


def bright(weight: float, n: int = 8) -> tuple[nn.Sequential, DeviceImages]:
    """Dark and bright images, and a linear model that tells them apart by a margin as large as its weight."""
    pixels = torch.full((n, 2, 2, 1), 55, dtype=torch.uint8)
    pixels[n // 2 :] = 200
    model = linear(weight * torch.tensor([[-1.0] * 4, [1.0] * 4]), torch.tensor([2.0, -2.0]) * weight)
    images = Images(pixels.numpy(), torch.arange(n).ge(n // 2).long().numpy())
    return model, DeviceImages(images, torch.device("cpu"))


def test_guard_keeps_the_weights_before_a_collapse() -> None:
    model, images = bright(1)
    other = linear(torch.ones(2, 4))
    guard = Guard(0.2, images, Threat(eps=0.1))
    before = state(model), state(other)
    assert not guard.collapsed(model, other)
    with torch.no_grad():
        other.get_parameter("1.weight").zero_()
        model.get_parameter("1.bias")[0] += 0.05  # still right everywhere
    assert not guard.collapsed(model, other)
    kept = state(model), state(other)
    with torch.no_grad():
        model.get_parameter("1.weight").neg_()
        other.get_parameter("1.weight").fill_(7)
    again = Guard(0.2, images, Threat(eps=0.1))
    again.load_state_dict(guard.state_dict())
    wrong = state(model)
    for one in (guard, again):
        model.load_state_dict(wrong)
        assert one.collapsed(model, other)
        assert same(state(model), kept[0])
        assert same(state(other), kept[1])
    assert not same(kept[0], before[0])
    assert not Guard(0.2, images, Threat(eps=0.1)).collapsed(model, other)  # nothing before the first look


def test_guard_lets_small_falls_be() -> None:
    model, images = bright(1)
    guard = Guard(0.5, images, Threat(eps=0.1))
    assert not guard.collapsed(model)
    with torch.no_grad():
        model.get_parameter("1.bias")[0] += 9  # half of the images are wrong now: a fall of 0.5 and not more
    assert not guard.collapsed(model)


def overfitting(**options: Any) -> Any:
    return trial(defense={"name": "fast", "guard": 0.0, **options}, attack=None, schedule={"epochs": 12, "lr": 0.5})


def test_training_ends_before_it_overfits(tmp_path: Path) -> None:
    """No fall at all is allowed, and one comes. The weights are those of the epoch before, and stay so."""
    trainer = Trainer(overfitting(), tmp_path / "guarded", device="cpu")
    report = trainer.run()
    ended = trainer.completed
    assert 1 < ended < 12
    assert (report["done"], report["outcome"], report["epoch"], report["epochs"]) == (True, "complete", ended, 12)

    alone = Trainer(overfitting(guard=1), tmp_path / "alone", device="cpu")
    for _ in range(ended - 1):
        last = alone.epoch()
    assert same(state(trainer.model), state(alone.model))
    assert same(state(trainer.average.model), state(alone.average.model))
    assert report["robust_accuracy"] == last["robust_accuracy"]
    assert trainer.progress.passes - alone.progress.passes == 3 * 400 * 5 + 40 * (2 + 2 * 2) + 400 * 12 * ended

    for _ in range(ended):
        trainer = Trainer(overfitting(), tmp_path / "parts", device="cpu")
        assert not trainer.done
        trainer.epoch()
    parts = Trainer(overfitting(), tmp_path / "parts", device="cpu")
    assert parts.done
    assert parts.report is not None
    assert parts.report["weights"] == report["weights"]
