"""What tests of the judge share: a small model with something to break, and what to compare of two judgements."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.__main__ import main
from robustray.attacks import Threat
from robustray.models.normalise import Normalise
from robustray.verdicts import Shard, Verdicts, read_shards
from tests.robustray.made import trial

THREAT = Threat(eps=0.1)
PAIR = ("apgd-ce", "apgd-dlr")
VERSION = "+".join(PAIR)
ON_TEST = ("--data", "digits", "--eps", "0.1", "--images", "40", "--version", "apgd-ce")


@lru_cache
def learned(
    hidden: int = 24, eps: float = 0.06, steps: int = 40, *, normalised: bool = True
) -> tuple[nn.Sequential, Tensor, Tensor]:
    """A small model trained against one step of length eps on digits, and 60 images of validation."""
    data = trial().judge.data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)  # Square asks it 5,000 times
        model = nn.Sequential(*layers)
        if normalised:
            model = nn.Sequential(Normalise(*data.statistics()), model)
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


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    error: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def folder(self) -> Path:
        """The judgement's folder, as the last line says."""
        return Path(self.lines[-1]).parent

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.lines[-1]).read_text())
        return found


class Command:
    """`python -m robustray` in this process, through its real front door."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Ended:
        self.monkeypatch.setattr(sys, "argv", ["robustray", *map(str, arguments)])
        self.capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = self.capsys.readouterr()
        return Ended(code, said.out, said.err)

    def judge(self, *arguments: object) -> Ended:
        """A judgement that ends well, on one device unless said otherwise."""
        ended = self("judge", *arguments, *(() if "--device" in arguments else ("--device", "cpu")))
        assert ended.code == 0, ended.error + ended.out
        return ended


NET = """
import torch
from torch import nn

def make():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    model.load_state_dict(torch.load({path!r}))
    return model
"""


def written(folder: Path) -> Path:
    """`net.py` in a folder, whose `make` gives the learned network without its normalisation, `weights.pt` beside it."""
    state = learned(normalised=False)[0].state_dict()
    torch.save(state, folder / "weights.pt")
    (folder / "net.py").write_text(NET.format(path=str(folder / "weights.pt")))
    return folder / "net.py"
