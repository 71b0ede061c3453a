"""Models of torchvision and timm by name, with the weights that come with them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision import models  # type: ignore[import-untyped]

from robustray import subjects
from robustray.errors import UserError

NAME, FILE = "squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"


def load(spec: str) -> subjects.Classifier:
    return subjects.load(spec, architecture=None, data=None, norm="linf")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights where torchvision keeps what it has fetched, so that it fetches nothing."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state: dict[str, torch.Tensor] = models.get_model(NAME, weights=None).state_dict()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(state, tmp_path / "hub" / "checkpoints" / FILE)
    return state


def test_torchvision_brings_weights_and_their_normalisation(cached: dict[str, torch.Tensor]) -> None:
    found, named = load(f"torchvision:{NAME}"), load(f"torchvision:{NAME}@IMAGENET1K_V1")
    assert found.weights == named.weights
    assert found.name == NAME
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    network = models.get_model(NAME, weights=None).eval()
    network.load_state_dict(cached)
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        assert torch.allclose(found.model(x), network((x - mean) / std), atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("torchvision:resnet19", "torchvision has no such classifier; did you mean 'resnet18'?"),
        ("torchvision:resnet18@IMAGENET1K_V9", "has no weights 'IMAGENET1K_V9'; did you mean 'IMAGENET1K_V1'?"),
        ("torchvision:fcn_resnet50", "torchvision has no such classifier"),
    ],
)
def test_mistakes(spec: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load(spec)
    assert said in str(caught.value)


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^timm:resnet18: needs the package timm: pip install timm$"):
        load("timm:resnet18")


def test_timm_knows_its_names() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UserError, match="timm has no such model; did you mean 'resnet18'"):
        load("timm:resnet18x")


def test_timm_brings_weights_and_their_normalisation(tmp_path: Path) -> None:
    """As a folder of timm's own form holds them, which needs no network."""
    timm = pytest.importorskip("timm")
    network = timm.create_model("resnet10t", num_classes=4).eval()
    wanted = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "num_classes": 4}
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": wanted}))
    safetensors.torch.save_file(network.state_dict(), tmp_path / "model.safetensors")
    found = load(f"timm:local-dir:{tmp_path}")
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(wanted[name])[:, None, None] for name in ("mean", "std"))
    with torch.no_grad():
        assert torch.allclose(found.model(x), network((x - mean) / std), atol=1e-5)
