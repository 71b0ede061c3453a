"""What every test of the package shares."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from robustray.data import base, places, stored
from robustray.training import Trainer
from tests.robustray.extra import write
from tests.robustray.judged import Command
from tests.robustray.made import JUDGE, trial


@pytest.fixture
def extra_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that trials with a mix draw from, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No data of this machine, and a cache of its own, in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(places.ROOT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for memory in (base._load, base._counts, stored._described):
        memory.cache_clear()


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """One thread in every test, whatever the test before it asked for."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """`python -m robustray`, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    return Command(monkeypatch, capsys)


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Forty images of four classes in files, a row of bright pixels tells which; and a network that looks at the rows."""
    pixels = np.random.default_rng(0).integers(60, 160, (40, 6, 6), dtype=np.uint8)
    labels = np.arange(40) % 4
    pixels[np.arange(40), labels] = np.random.default_rng(1).integers(150, 250, (40, 6), dtype=np.uint8)
    for name in ("train", "test"):
        np.savez(tmp_path / f"{name}.npz", images=pixels, labels=labels)
    (tmp_path / "rows.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Rows(nn.Module):\n"
        "    def forward(self, x): return 10 * torch.as_tensor(x).mean((1, 3))[:, :4]\n"
    )
    return "{name: npz, train: train.npz, test: test.npz, validation: 8}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained trial."""
    folder = tmp_path_factory.mktemp("trials") / "0003"
    Trainer(trial(judge=JUDGE | {"version": "apgd"}), folder, device="cpu").run()
    return folder
