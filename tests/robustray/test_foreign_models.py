"""Networks of other libraries: their names, their published sizes, the images they take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torchvision import models  # type: ignore[import-untyped]

from robustray.data import Digits
from robustray.errors import UserError
from robustray.models.foreign import Dropped
from robustray.models.timm_models import Timm
from robustray.models.torchvision_models import NAMES, Torchvision
from robustray.training import Trainer
from sweeps.driver import look_ahead
from sweeps.space import Sweep
from tests.robustray.made import JUDGE, generator, trial

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
        UserError, match=r"model: torchvision alexnet does not take images of 8x8 pixels \(.*\); use others"
    ) as told:
        Torchvision(architecture="alexnet").build(Digits(validation=60))
    assert "\n" not in str(told.value)


@pytest.mark.skipif(not Timm().available, reason="timm is not installed")
def test_networks_of_timm() -> None:
    """BiT and ConvNeXt, of their published sizes."""
    for name, published in (("resnetv2_50x1_bit", 25_549_352), ("convnext_tiny", 28_589_128)):
        network = Timm(architecture=name, dropout=0.5).network(3, 64, 64, 1000)
        assert sum(weight.numel() for weight in network.parameters()) == published
        assert network.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 1000)
    with pytest.raises(
        ValidationError, match="no such network of timm, 'convnext_tinny'; did you mean 'convnext_tiny'"
    ):
        Timm(architecture="convnext_tinny")


def test_timm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One line with the remedy, in a trial and before a sweep; its options are read all the same."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    wrong = r"model: timm needs the package timm: pip install 'robustray\[timm\]'"
    model = Timm(architecture="resnetv2_50x1_bit")
    with pytest.raises(UserError, match=wrong):
        model.build(Digits(validation=60))
    with pytest.raises(UserError, match=wrong):
        Trainer(trial(model="timm"), tmp_path, device="cpu")
    space = {"name": "x", "judge": JUDGE, "trial": {"model": "timm", "batch": {"size": 100}}}
    with pytest.raises(UserError, match=wrong):
        look_ahead(Sweep.model_validate(space))
