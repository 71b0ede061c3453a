"""What tests of the judge share: a small model with something to break, and what to compare of two judgements."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.attacks import Threat
from robustray.models._normalise import Normalise
from robustray.verdicts import Shard, Verdicts, read_shards
from tests.robustray.made import trial

THREAT = Threat(eps=0.1)
PAIR = ("apgd-ce", "apgd-dlr")
VERSION = "+".join(PAIR)


@lru_cache
def learned(hidden: int = 24, eps: float = 0.06, steps: int = 40) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small model trained against one step of length eps on digits, and 60 images of validation."""
    data = trial().judge.data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)  # Square asks it 5,000 times
        model = nn.Sequential(Normalise(*data.statistics()), nn.Sequential(*layers))
    train, test = data.load("train"), data.load("validation")
    x = torch.from_numpy(train.images).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(train.labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        x.requires_grad_()
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
        x_adv = (x.detach() + eps * slope.sign()).clamp(0, 1)
        x = x.detach()
        optimiser.zero_grad()
        F.cross_entropy(model(x_adv), y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    images = torch.from_numpy(test.images).permute(0, 3, 1, 2).float() / 255
    return model.eval().requires_grad_(False), images, torch.from_numpy(test.labels)


def contents(folder: Path, attacks: tuple[str, ...] = PAIR) -> dict[str, list[Any]]:
    """Every verdict in a judgement's folder, by file, without the clock."""
    return {f"{shard.attack}-{shard.shard}": said(shard) for shard in read_shards(folder, attacks)}


def said(shard: Shard) -> list[Any]:
    """Everything a shard says but for the clock."""
    columns = shard.image, shard.label, shard.predicted, shard.broken, shard.correct
    return [*(column.tolist() for column in columns), {k: v for k, v in shard.info.items() if k != "seconds"}]


def same_verdicts(a: Verdicts, b: Verdicts) -> bool:
    """Image by image, bit for bit."""
    names = ("image", "label", "broken_by", "clean_correct", "robust_correct")
    return all(getattr(a, name).tolist() == getattr(b, name).tolist() for name in names)
