"""Networks of other libraries: their names, their published sizes, the images they take."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision import models  # type: ignore[import-untyped]

from robustray.data import Digits
from robustray.errors import UserError
from robustray.models.foreign import Dropped
from robustray.models.torchvision_models import NAMES, Torchvision
from tests.robustray.made import generator

LEFT_OUT = ("googlenet", "inception", "maxvit", "squeezenet", "swin", "vit")


def test_names_are_those_of_torchvision() -> None:
    """All of its networks for classes, but for the families that are left out."""
    theirs = models.list_models(module=models)
    assert set(NAMES) == {name for name in theirs if not name.startswith(LEFT_OUT)}


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes(name: str) -> None:
    """As torchvision writes them beside its weights."""
    published = models.get_model_weights(name).DEFAULT.meta["num_params"]
    counts = name.startswith(
        "regnet"
    )  # they count with tensors as they are made, which a tensor without numbers cannot
    if counts and published > 30e6:
        pytest.skip("hundreds of millions of parameters, in memory")
    with torch.device("cpu" if counts else "meta"):
        network = Torchvision(architecture=name).network(3, 224, 224, 1000)
    assert sum(weight.numel() for weight in network.parameters()) == published


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "mobilenet_v2", "shufflenet_v2_x0_5", "vgg11_bn", "regnet_y_400mf"]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_the_data(name: str, channels: int) -> None:
    """Any number of channels and classes, with dropout before the last layer, under the names that torchvision gives."""
    network = Torchvision(architecture=name, dropout=0.5).network(channels, 40, 48, 7)
    assert network.eval()(torch.rand(2, channels, 40, 48, generator=generator())).shape == (2, 7)
    theirs = models.get_model(name, num_classes=7).state_dict()
    assert set(network.state_dict()) == set(theirs)
    apart = {key for key, value in network.state_dict().items() if value.shape != theirs[key].shape}
    assert len(apart) == (channels != 3)
    dropped = [each for each in network.modules() if isinstance(each, Dropped)]
    assert [each.p for each in dropped] == [0.5]
    assert dropped[0] is [each for each in network.modules() if isinstance(each, nn.Linear)][-1]


def test_the_function_is_torchvisions() -> None:
    network, theirs = Torchvision().network(3, 64, 64, 5).eval(), models.resnet18(num_classes=5).eval()
    theirs.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 64, 64, generator=generator())
    assert torch.equal(network(x), theirs(x))


def test_mistakes() -> None:
    with pytest.raises(
        ValidationError, match=r"no such network of torchvision here, 'resnet19'; did you mean 'resnet1"
    ):
        Torchvision(architecture="resnet19")
    with pytest.raises(
        UserError, match=r"model: torchvision alexnet does not take images of 8x8 pixels \(.*\); use larger"
    ) as told:
        Torchvision(architecture="alexnet").build(Digits(validation=60))
    assert "\n" not in str(told.value)
