"""How many images a shard has: memory by closed forms, sizes that shrink with what is free, decided once."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from robustray.judge import Judge
from robustray.judging import shard_size
from robustray.judging.plan import Plan
from tests.robustray.made import JUDGE, generator, linear

CPU = torch.device("cpu")


def images(n: int, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=generator(1))


@pytest.mark.parametrize("n", [1, 3, 8])
def test_memory_of_linear_networks_is_as_in_closed_form(n: int) -> None:
    """Autograd keeps no activation of a linear layer whose weights are frozen, and of a ReLU its result: 4 bytes a unit."""
    copies = shard_size.COPIES * 64 * 4
    assert shard_size.bytes_per_image(linear(torch.zeros(10, 64)), images(n)) == copies
    hidden = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 30), nn.ReLU(), nn.Linear(30, 10)
    )
    assert shard_size.bytes_per_image(hidden, images(n)) == copies + 4 * (100 + 30)
    assert (
        shard_size.bytes_per_image(nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(64, 10)), images(n))
        == copies + 4 * 64
    )


@pytest.mark.parametrize("frozen", [True, False])
def test_weights_are_not_activations(frozen: bool) -> None:
    """However large they are, and whether or not they were frozen before; everything is as it was afterwards."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5000)).train()
    model.requires_grad_(not frozen)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert shard_size.bytes_per_image(model, images(4)) < 5000 * 4 * 36
    assert model.training
    assert all(parameter.requires_grad is not frozen for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def conv(width: int, depth: int) -> nn.Module:
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Conv2d(width if number else 1, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 64, 10))


def test_memory_of_convolutions_grows_with_width_depth_and_size() -> None:
    """At least the result of every ReLU, which autograd must keep; not much more."""
    for model, width, depth in ((conv(4, 1), 4, 1), (conv(16, 1), 16, 1), (conv(16, 4), 16, 4)):
        activations = shard_size.bytes_per_image(model, images(4)) - shard_size.COPIES * 64 * 4
        results = 4 * width * 64 * depth
        assert results <= activations <= 2.5 * results + 4 * 64
    sizes = [shard_size.bytes_per_image(conv(width, 2), images(2)) for width in (2, 4, 8, 16, 32)]
    assert sizes == sorted(sizes)
    assert shard_size.bytes_per_image(conv(8, 2), images(1)) == pytest.approx(
        shard_size.bytes_per_image(conv(8, 2), images(8)), rel=0.2
    )


Memory = namedtuple("Memory", "available")


def test_size_shrinks_with_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest allowed size whose attacks take a share of what is free; never less than one image."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    need = shard_size.bytes_per_image(model, images(4))
    found = []
    for free in (2**40, *(int(n * need / shard_size.SHARE * 1.01) for n in shard_size.SIZES), 10, 0):
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: Memory(free))
        found.append(shard_size.size(model, images(4), CPU))
    most = [min(n, shard_size.ON_CPU) for n in shard_size.SIZES]
    assert found == [shard_size.ON_CPU, *most, 1, 1]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory(int(250 * need / shard_size.SHARE * 1.01)))
    assert [shard_size.size(model, images(4), CPU, workers) for workers in (1, 2, 4, 1000)] == [250, 120, 60, 1]


def plan(size: int, **changes: object) -> Plan:
    return Plan.of(Judge.model_validate(JUDGE | changes), "w", "validation", shard_size=size)


def test_a_size_is_decided_once(tmp_path: Path) -> None:
    """By the judgement that is the same but for it; damaged or foreign folders are passed over."""
    assert shard_size.recorded(tmp_path / "nowhere", plan(500)) is None
    plan(120).folder(tmp_path)
    plan(7, threat={"eps": 0.2}).folder(tmp_path)
    for name, text in (("a", "no json"), ("b", "[]"), ("c", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "judgement.json").write_text(text)
    assert shard_size.recorded(tmp_path, plan(500)) == 120
    assert shard_size.recorded(tmp_path, plan(500, version="apgd")) == 120, "the same family"
    assert shard_size.recorded(tmp_path, plan(500, threat={"eps": 0.2})) == 7
    assert shard_size.recorded(tmp_path, plan(500, version="plus")) is None
    (folder,) = (
        path
        for path in tmp_path.glob("validation-*")
        if json.loads((path / "judgement.json").read_text())["shard"] == 7
    )
    (folder / "judgement.json").unlink()
    assert shard_size.recorded(tmp_path, plan(500, threat={"eps": 0.2})) is None
