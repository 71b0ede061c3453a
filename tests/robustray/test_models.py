"""Published networks: their sizes, their functions where torchvision has them too, and what their options do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision  # type: ignore[import-untyped]
from pydantic import ValidationError
from torch import Tensor, nn

from robustray.data import Digits
from robustray.models import (
    Architecture,
    Cnn1,
    Cnn2,
    PreactResnet18,
    PreactResnet34,
    Resnet18,
    Resnet50,
    Vgg16,
    WideResnet,
)
from robustray.models.activations import activation
from robustray.models.convnet import ConvNet, NormName
from robustray.models.normalisation import groups, normalisation
from robustray.models.preactivation import PreActivation
from robustray.training.optimisers import Sgd
from tests.robustray.made import generator

NORMS: tuple[NormName, ...] = ("bn", "rebn", "gn", "fixed", "fixed_gn", "none")
COLOUR, GREY = (3, 32, 32), (1, 28, 28)


def build(architecture: Architecture, shape: tuple[int, int, int] = COLOUR, classes: int = 10) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architecture.network(*shape, classes)
    assert isinstance(network, nn.Sequential)
    return network


def unlike(network: nn.Module) -> nn.Module:
    """The network in float64 with batch norm that is not the identity, as after training."""
    stream = generator()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for parameter in (module.weight, module.bias):
                nn.init.normal_(parameter, 1, 0.2, generator=stream)
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=stream)
            module.running_var.uniform_(0.5, 2, generator=stream)
    return network.eval().double()


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize(
    ("architecture", "shape", "classes", "count"),
    [
        (WideResnet(), COLOUR, 10, 36_479_194),
        (WideResnet(depth=34, dropout=0.2, activation="silu"), COLOUR, 10, 46_160_474),
        (PreactResnet18(), COLOUR, 10, 11_172_170),
        (PreactResnet34(), COLOUR, 10, 21_280_330),
        (Resnet18(), COLOUR, 10, 11_173_962),
        (Resnet50(), (3, 224, 224), 1000, 25_557_032),
        (Vgg16(), COLOUR, 10, 14_728_266 - 4_224),  # without the biases of convolutions
        (Cnn1(), GREY, 10, 1_199_882),
        (Cnn2(), GREY, 10, 312_202),
    ],
    ids=lambda value: value.name if isinstance(value, Architecture) else "",
)
def test_published_sizes(architecture: Architecture, shape: tuple[int, int, int], classes: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(build(architecture, shape, classes)) == count


@pytest.mark.parametrize("depth", [18, 34])
def test_size_of_a_preact_resnet(depth: int) -> None:
    """Convolutions and batch norms of every block, one by one."""
    before, count = 64, 27 * 64
    for filters, number in zip((64, 128, 256, 512), {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth], strict=True):
        for _ in range(number):
            count += 2 * before + 9 * before * filters + 2 * filters + 9 * filters**2
            count += before * filters * (before != filters)
            before = filters
    network = (PreactResnet18() if depth == 18 else PreactResnet34()).network(*COLOUR, 10)
    assert parameters(network) == count + 2 * 512 + 512 * 10 + 10


def wide(depth: int, width: int, classes: int = 10) -> int:
    """Parameters of a wide residual network on colour images."""
    blocks, before = (depth - 4) // 6, 16
    count = 27 * before
    for filters in (16 * width, 32 * width, 64 * width):
        count += 2 * before + 9 * before * filters + 2 * filters + 9 * filters**2
        count += before * filters * (before != filters)
        count += (blocks - 1) * (4 * filters + 18 * filters**2)
        before = filters
    return count + 2 * before + before * classes + classes


@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 1), (10, 3), (22, 2), (40, 1)])
def test_size_of_a_wide_resnet(depth: int, width: int) -> None:
    assert parameters(build(WideResnet(depth=depth, width=width))) == wide(depth, width)


@pytest.mark.parametrize(
    ("depth", "width", "millions"),
    [(40, 4, 8.9), (16, 8, 11.0), (22, 8, 17.2), (28, 10, 36.5), (28, 12, 52.5), (34, 20, 184.5), (70, 16, 266.8)],
)
def test_published_sizes_of_wide_resnets(depth: int, width: int, millions: float) -> None:
    assert round(wide(depth, width) / 1e6, 1) == millions


@pytest.mark.parametrize("depth", [5, 11, 20, 29, 30])
def test_depth_of_a_wide_resnet(depth: int) -> None:
    below = 10 + 6 * ((depth - 10) // 6)
    with pytest.raises(ValidationError) as caught:
        WideResnet(depth=depth)
    [error] = caught.value.errors()
    assert error["loc"] == ("depth",)
    assert ("greater than or equal to 10" if depth < 10 else f"{below} or {below + 6}, not {depth}") in error["msg"]


def test_resnets_are_those_of_torchvision() -> None:
    theirs18 = torchvision.models.resnet18(num_classes=7)
    theirs18.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs18.maxpool = nn.Identity()
    for ours, theirs in ((Resnet18(), theirs18), (Resnet50(), torchvision.models.resnet50(num_classes=7))):
        compare(build(ours, classes=7), theirs)


def test_vgg16_is_that_of_torchvision() -> None:
    theirs = torchvision.models.vgg16_bn(num_classes=7)
    theirs.classifier = nn.Linear(512, 7)
    theirs.avgpool = nn.Identity()
    for module in theirs.modules():
        if isinstance(module, nn.Conv2d):
            module.bias = None
    compare(build(Vgg16(), classes=7), theirs)


def compare(ours: nn.Sequential, theirs: nn.Module) -> None:
    """Both give the same logits with the same weights, which are taken in the order of their layers."""
    unlike(ours)
    names = list(theirs.state_dict())
    assert len(names) == len(ours.state_dict())
    theirs.double().load_state_dict(dict(zip(names, ours.state_dict().values(), strict=True)))
    x = torch.rand(2, *COLOUR, generator=generator(), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs.eval()(x))


@pytest.mark.parametrize(("filters", "stride"), [(4, 1), (6, 1), (4, 2)])
def test_pre_activation_block(filters: int, stride: int) -> None:
    """y = around + conv2(relu(norm2(conv1(a)))), a = relu(norm1(x)); around is x, or a 1x1 convolution of a."""
    block = unlike(PreActivation(4, filters, stride, "relu", 0.0))
    w = block.state_dict()
    x = torch.randn(3, 4, 6, 6, generator=generator(), dtype=torch.float64)

    def normal(h: Tensor, name: str) -> Tensor:
        mean, variance, weight, bias = (
            w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return torch.relu((h - mean) / (variance + 1e-5).sqrt() * weight + bias)

    a = normal(x, "first.0")
    h = normal(F.conv2d(a, w["inner.0.weight"], stride=stride, padding=1), "inner.1")
    around = x if "around.weight" not in w else F.conv2d(a, w["around.weight"], stride=stride)
    assert ("around.weight" in w) == ((filters, stride) != (4, 1))
    before = x.clone()
    torch.testing.assert_close(block(x), around + F.conv2d(h, w["inner.4.weight"], padding=1))
    assert torch.equal(x, before)  # activations in place touch normalised copies alone


@pytest.mark.parametrize("architecture", [PreactResnet18(), WideResnet(depth=10, width=4), Resnet18(), Vgg16()])
def test_convolutions_are_drawn_with_kaiming_fan_out(architecture: Architecture) -> None:
    """Each weight is N(0, 2 / (k^2 * out)): four standard errors of the sample's mean and of its variance."""
    network = build(architecture)
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert layers
    for layer in layers:
        n, variance = layer.weight.numel(), 2 / (layer.kernel_size[0] ** 2 * layer.out_channels)
        assert layer.bias is None
        assert layer.weight.mean().abs() < 4 * (variance / n) ** 0.5
        assert (layer.weight.square().mean() / variance - 1).abs() < 4 * (2 / n) ** 0.5
    head = network[-1]
    assert isinstance(head, nn.Linear)
    assert not head.bias.any()


def test_head_without_biases() -> None:
    for architecture in (PreactResnet18(width=4), WideResnet(depth=10, width=1)):
        with_bias = build(architecture)
        without = build(architecture.model_copy(update={"head_bias": False}))
        assert parameters(with_bias) - parameters(without) == 10
        assert [name for name, _ in without.named_parameters() if name.startswith(f"{len(without) - 1}.")] == [
            f"{len(without) - 1}.weight"
        ]


def test_activations() -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)
    expected = {
        "relu": x.clamp_min(0),
        "silu": x * x.sigmoid(),
        "gelu": x * torch.special.ndtr(x),
        "mish": x * torch.log1p(x.exp()).tanh(),
        "softplus": torch.log1p((10 * x).exp()) / 10,
        "elu": torch.where(x > 0, x, torch.expm1(x)),
        "leaky_relu": torch.where(x > 0, x, 0.1 * x),
        "tanh": x.tanh(),
        "selu": 1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * torch.expm1(x)),
        "celu": torch.where(x > 0, x, 1.2 * torch.expm1(x / 1.2)),
        "sigmoid": 1 / (1 + torch.exp(-x)),
        "softsign": x / (1 + x.abs()),
        "leaky_tanh": torch.where(x > 0, x.tanh(), x.tanh() / 4),
    }
    names = PreactResnet18.model_json_schema()["properties"]["activation"]["enum"]
    assert names == list(expected)
    for name in names:
        torch.testing.assert_close(activation(name)(x.clone()), expected[name], rtol=0, atol=1e-8)


def test_scales_around_one() -> None:
    """The same function; decay and clipping pull scales to 1, where those of plain batch norm go to 0."""
    plain, around = (build(Resnet18(width=4, norm=norm)) for norm in NORMS[:2])
    x = torch.rand(2, *COLOUR, generator=generator())
    torch.testing.assert_close(around.eval()(x), plain.eval()(x))
    for network, at in ((plain, 0.0), (around, 1.0)):
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert len(norms) == 20
        sgd = Sgd(momentum=0, weight_decay=0.5)
        built = sgd.build(network)
        sgd.set(built, 1.0, 0.0)
        for weight in network.parameters():
            weight.grad = torch.zeros_like(weight)
        built.step()  # half of the way
        assert all(torch.equal(norm.weight, torch.full_like(norm.weight, (1 + at) / 2)) for norm in norms)


def test_clipping_with_scales_around_one() -> None:
    network = build(Resnet18(width=4, norm="rebn"))
    Sgd(clip=0.005).build(network)
    assert max(weight.abs().max().item() for weight in network.parameters()) <= 0.005
    scales = [module.weight for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(((scale - 1).abs() <= 0.0051).all() for scale in scales)


def test_normalisation_in_closed_form() -> None:
    """In training (x - mean) / sqrt(variance + 1e-5), over a batch or over groups of an image; at first with scale 1."""
    x = torch.randn(4, 6, 5, 3, generator=generator(), dtype=torch.float64) * 3 + 1

    def standard(x: Tensor, dimensions: tuple[int, ...]) -> Tensor:
        mean = x.mean(dimensions, keepdim=True)
        return (x - mean) / (x.var(dimensions, correction=0, keepdim=True) + 1e-5).sqrt()

    batch, group = standard(x, (0, 2, 3)), standard(x.view(4, 2, 3, 5, 3), (2, 3, 4)).view_as(x)
    expected = {"bn": batch, "rebn": batch, "fixed": batch, "gn": group, "fixed_gn": group, "none": x}
    assert set(expected) == set(NORMS)
    for name in NORMS:
        layer = normalisation(name, 6).double()
        torch.testing.assert_close(layer(x), expected[name])
        assert parameters(layer) == (12 if name in ("bn", "rebn", "gn") else 0)


@pytest.mark.parametrize(
    ("channels", "count"), [(64, 32), (128, 32), (512, 32), (48, 24), (32, 16), (16, 8), (6, 2), (4, 2), (3, 1), (1, 1)]
)
def test_groups_of_channels(channels: int, count: int) -> None:
    """Up to 32, of two channels and more: one alone would be normalised to its own pixels."""
    assert groups(channels) == count


CONVNETS = (PreactResnet18(width=8), PreactResnet34(width=4), Resnet18(width=8), Resnet50(width=8), Vgg16(width=8))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("architecture", [*CONVNETS, WideResnet(depth=10, width=1)], ids=lambda each: each.name)
def test_every_network_has_every_norm(architecture: ConvNet, norm: NormName) -> None:
    """The layers it has are of that kind alone; convolutions have biases where nothing takes their mean away."""
    network = build(architecture.model_copy(update={"norm": norm}), (3, 64, 64))
    kind = nn.GroupNorm if norm.endswith("gn") else nn.BatchNorm2d
    layers = [each for each in network.modules() if isinstance(each, nn.BatchNorm2d | nn.GroupNorm)]
    assert bool(layers) == (norm != "none")
    assert all(isinstance(each, kind) for each in layers)
    assert all((each.weight is None) == norm.startswith("fixed") for each in layers)
    for each in network.modules():
        if isinstance(each, nn.Conv2d):
            assert (each.bias is not None) == (norm == "none")
    x = torch.rand(3, 3, 64, 64, generator=generator())
    apart = torch.cat([network.eval()(x[row : row + 1]) for row in range(3)])
    torch.testing.assert_close(network(x), apart, rtol=1e-3, atol=1e-4)
    alone = norm in ("gn", "fixed_gn", "none")
    trained = network.train()(x)
    assert torch.allclose(trained, apart, rtol=1e-3, atol=1e-4) == alone, "whether images meet in training"


def test_scales_are_read_as_the_norm_they_were() -> None:
    for scales, norm in (("plain", "bn"), ("around_one", "rebn")):
        assert Resnet18.model_validate({"name": "resnet18", "scales": scales}) == Resnet18(norm=norm)
    mistakes = {"must be plain or around_one": {"scales": "other"}, "given as well": {"scales": "plain", "norm": "gn"}}
    for wrong, options in mistakes.items():
        with pytest.raises(ValidationError, match=wrong):
            Resnet18.model_validate(options)


@pytest.mark.parametrize("whiten", [True, False])
def test_whitening(whiten: bool) -> None:
    """Per channel to mean 0 and deviation 1 of the training images, frozen; without, pixels come bit for bit as they are."""
    data = Digits(validation=60)
    model = Resnet18(width=2, whiten=whiten).build(data)
    assert isinstance(model, nn.Sequential)
    x = torch.rand(5, 1, 8, 8, generator=generator())
    assert torch.equal(model[0](x), x) == (not whiten)
    assert not list(model[0].parameters())
    pixels = torch.from_numpy(data.load("train").images).permute(0, 3, 1, 2) / 255
    assert (abs(model[0](pixels).mean()) < 1e-5) == whiten
    other = Resnet18(width=2, whiten=not whiten).build(data)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(x), model.eval()(x)), "weights fit either way, and take their constants along"
