"""Feature maps: where they are found in networks of all kinds, what they are, and how mistakes end."""

from __future__ import annotations

import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from torch import nn

from robustray.data import Digits
from robustray.models import PreactResnet18, Resnet50, WideResnet
from robustray.models.features import Featured, Places, found
from tests.robustray.made import Boom, Fails, generator, network


def test_maps_are_those_of_the_first_two_stages() -> None:
    """The planes of Bai et al. (2023, arXiv:2301.12554): of a network of 64 channels 64 and 128, at all and half the size."""
    x = torch.rand(2, 3, 32, 32, generator=generator())
    for architecture, planes in ((PreactResnet18(), (64, 128)), (WideResnet(depth=10, width=4), (64, 128))):
        _, maps = Featured(architecture.network(3, 32, 32, 10), x).features(x)
        early, late = planes
        assert [tuple(map_.shape) for map_ in maps.values()] == [(2, early, 32, 32), (2, late, 16, 16)]
    _, maps = Featured(Resnet50(width=4).network(3, 64, 64, 10), torch.rand(1, 3, 64, 64)).features(
        torch.rand(1, 3, 64, 64)
    )
    assert [tuple(map_.shape) for map_ in maps.values()] == [(1, 16, 16, 16), (1, 32, 8, 8)]


def test_maps_are_the_layers_outputs() -> None:
    model = PreactResnet18(width=4).network(3, 32, 32, 10).eval()
    assert isinstance(model, nn.Sequential)
    x = torch.rand(2, 3, 32, 32, generator=generator())
    logits, maps = Featured(model, x).features(x)
    with torch.no_grad():
        assert torch.equal(maps["early"], model[:3](x))
        assert torch.equal(maps["late"], model[:5](x))
    assert torch.equal(logits, model(x))


def test_normalisation_is_no_map() -> None:
    data = Digits(validation=60)
    model = PreactResnet18(width=2).build(data)
    assert found(model, torch.rand(2, 1, 8, 8)) == Places("1.2", "1.4")


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("resnet18", Places("layer1", "layer2")),
        ("densenet121", Places("features.denseblock1", "features.denseblock2")),
        ("convnext_tiny", Places("features.1", "features.3")),
        ("vgg11_bn", Places("features.2", "features.6")),
    ],
)
def test_networks_of_others(name: str, places: Places) -> None:
    model = torchvision.models.get_model(name, num_classes=3)
    assert found(nn.Sequential(nn.Identity(), model), torch.rand(1, 3, 64, 64)) == Places(
        *(f"1.{each}" for each in places)
    )


def test_a_module_that_runs_twice_and_one_that_does_not() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(2, 2, 3, padding=1)
            self.idle = nn.Conv2d(2, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            means: torch.Tensor = self.convolution(self.convolution(x)).mean((2, 3))
            return means

    model, x = Twice(), torch.rand(2, 2, 6, 6)
    _, maps = Featured(model, places=Places("convolution", "convolution")).features(x)
    assert torch.equal(maps["early"], model.convolution(model.convolution(x)))
    with pytest.raises(RuntimeError, match="idle did not run, so there is no late feature map"):
        Featured(model, places=Places("convolution", "idle")).features(x)


def test_mistakes() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(ValueError, match="no two modules that give maps"):
        Featured(flat, torch.rand(2, 2, 6, 6))
    with pytest.raises(ValueError, match="no module '7'"):
        Featured(flat, places=Places("0", "7"))
    with pytest.raises(ValueError, match="give some images"):
        Featured(flat)


def test_no_hook_is_left_behind() -> None:
    inner = network()
    x = torch.rand(2, 2, 6, 6, dtype=torch.float64)
    featured = Featured(Fails(inner, 1), places=Places("model.0", "model.2"))
    featured.features(x)
    with pytest.raises(Boom):
        featured.features(x)
    assert not any(module._forward_hooks for module in featured.modules())
