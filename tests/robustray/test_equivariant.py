"""Layers and networks that turn and mirror with the image: exactly, in float64, under every element of the group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from robustray.models.equivariant import (
    GROUPS,
    Blur,
    CentredMaximum,
    GroupBatchNorm,
    GroupConv,
    GroupName,
    OddSides,
    Symmetry,
    moved,
)
from robustray.models.p4_cnn import P4Cnn
from robustray.models.p4_resnet18 import P4Resnet18
from robustray.models.resnet18 import Resnet18
from tests.conftest import Golden
from tests.robustray.golden import close
from tests.robustray.made import generator

NAMES: list[GroupName] = ["p4", "p4m"]
SIDES = [(8, 8), (9, 9), (12, 12), (15, 15), (17, 17), (8, 13)]
"""Even and odd, powers of two and none, a square and none."""
every_group = pytest.mark.parametrize("group", NAMES)


def images(channels: int, height: int, width: int, n: int = 2) -> Tensor:
    return torch.rand(n, channels, height, width, generator=generator(), dtype=torch.float64)


def drawn(layer: nn.Module) -> nn.Module:
    """The layer in float64, its biases and batch norm's statistics not those of the beginning."""
    stream = generator(1)
    for name, tensor in (*layer.named_parameters(), *layer.named_buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2, generator=stream) if tensor.ndim == 1 else nn.init.normal_(
                tensor, 0, 1 if "norm" in name else 0.3, generator=stream
            )
    return layer.double()


def with_planes(u: Symmetry, group: GroupName, f: Tensor) -> Tensor:
    """What the group's element makes of a feature map: every plane turned, and moved."""
    planes = f.view(len(f), -1, len(GROUPS[group]), *f.shape[2:])
    return u(planes[:, :, list(moved(u, group))]).flatten(1, 2)


@every_group
def test_the_elements_are_a_group(group: GroupName) -> None:
    """Products and inverses are what they do to an image, and stay within; no two elements are the same."""
    elements, x = GROUPS[group], images(1, 3, 3)
    assert len({tuple(g(x).flatten().tolist()) for g in elements}) == len(elements)
    for g in elements:
        assert torch.equal(g(g.inverse()(x)), x)
        for h in elements:
            assert g.after(h) in elements
            assert torch.equal(g.after(h)(x), g(h(x)))


@every_group
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("lifts", [True, False])
def test_a_convolution_commutes_with_the_group(group: GroupName, size: int, lifts: bool) -> None:
    layer = drawn(GroupConv(group, 3, 2, size, lifts=lifts, bias=True))
    x = images(3 if lifts else 3 * len(GROUPS[group]), 6, 7)
    for u in GROUPS[group]:
        turned = u(x) if lifts else with_planes(u, group, x)
        torch.testing.assert_close(layer(turned), with_planes(u, group, layer(x)), rtol=0, atol=1e-12)


@every_group
@given(height=st.integers(3, 9), width=st.integers(3, 9), size=st.sampled_from([1, 3]))
def test_stride_2_commutes_where_both_sides_are_odd(group: GroupName, height: int, width: int, size: int) -> None:
    layer, x = drawn(GroupConv(group, 1, 2, size, 2, lifts=True)), images(1, height, width, 1)
    apart = max((layer(u(x)) - with_planes(u, group, layer(x))).abs().max().item() for u in GROUPS[group])
    assert (apart < 1e-12) == (height % 2 == 1 and width % 2 == 1)


@pytest.mark.parametrize("layer", [OddSides(), Blur(), CentredMaximum()])
@given(height=st.integers(1, 9), width=st.integers(1, 9))
def test_downsampling_commutes_at_any_size(layer: nn.Module, height: int, width: int) -> None:
    x = images(2, height, width)
    for u in GROUPS["p4m"]:
        torch.testing.assert_close(layer(u(x)), u(layer(x)), rtol=0, atol=1e-14)
    sides = layer(x).shape[2:]
    halved = tuple(-(-side // 2) for side in (height, width))
    assert sides == (
        halved if isinstance(layer, Blur | CentredMaximum) else tuple(side - 1 + side % 2 for side in (height, width))
    )


def test_the_centred_maximum_is_the_usual_one_of_even_sides() -> None:
    x = images(2, 6, 8)
    assert torch.equal(CentredMaximum()(x), F.max_pool2d(x, 2))


def test_blur_of_a_constant_is_that_constant_inside() -> None:
    for side in (8, 9):
        inside = Blur()(torch.full((1, 1, side, side), 3.0, dtype=torch.float64))[0, 0, 1:-1, 1:-1]
        assert (inside == 3).all()


@every_group
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_commutes_and_is_that_of_all_planes(group: GroupName, training: bool) -> None:
    """That of the originals: a 3-d batch norm whose first dimension is the group."""
    planes = len(GROUPS[group])
    layer, theirs = drawn(GroupBatchNorm(3)).train(training), nn.BatchNorm3d(3).double().train(training)
    theirs.load_state_dict(layer.state_dict())
    x = images(3 * planes, 4, 5)
    y = layer(x)
    torch.testing.assert_close(y, theirs(x.view(len(x), 3, planes, 4, 5)).flatten(1, 2))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value)
    for u in GROUPS[group]:
        torch.testing.assert_close(layer.eval()(with_planes(u, group, x)), with_planes(u, group, layer.eval()(x)))


def turned_apart(network: nn.Module, group: GroupName, x: Tensor) -> float:
    """The largest difference that an element of the group makes to logits, over their spread."""
    with torch.no_grad():
        logits: Tensor = network(x)
        spread: float = logits.std().item()
        return max(float((network(u(x)) - logits).abs().max()) for u in GROUPS[group]) / spread


def network(**options: Any) -> nn.Module:
    return drawn(P4Resnet18(width=8, **options).network(2, 8, 8, 5)).eval()


@every_group
@pytest.mark.parametrize("downsampling", ["odd", "blur"])
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_logits_are_invariant_at_every_size(group: GroupName, downsampling: str, activation: str) -> None:
    model = network(group=group, downsampling=downsampling, activation=activation)
    for sides in SIDES:
        assert turned_apart(model, group, images(2, *sides)) < 1e-9


@every_group
def test_gradients_turn_with_the_image(group: GroupName) -> None:
    """So does what attacks make of them: robust accuracy is that of turned images."""
    model, x = network(group=group), images(2, 8, 8)

    def gradient(of: Tensor) -> Tensor:
        of = of.clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(of), torch.tensor([0, 3]), reduction="sum"), of)[0]

    straight = gradient(x)
    for u in GROUPS[group]:
        assert (gradient(u(x)) - u(straight)).abs().max() < 1e-9 * straight.abs().max()


@every_group
def test_the_published_layout_is_not_invariant(group: GroupName) -> None:
    """Neither with its own head, nor with a mean where a stride meets an even side; a side of 8n + 1 stays odd."""
    assert turned_apart(network(group=group, head="flatten"), group, images(2, 9, 9)) > 1e-3
    strided = network(group=group, downsampling="strided")
    assert turned_apart(strided, group, images(2, 8, 8)) > 1e-3
    assert turned_apart(strided, group, images(2, 17, 17)) < 1e-9


def test_p4_does_not_know_mirrors_and_a_plain_network_neither() -> None:
    assert turned_apart(network(group="p4"), "p4m", images(2, 9, 9)) > 1e-3
    plain = drawn(Resnet18(width=4).network(2, 9, 9, 5)).eval()
    assert turned_apart(plain, "p4", images(2, 9, 9)) > 1e-3


def size(group: GroupName, head: str, channels: int = 3, classes: int = 10) -> int:
    """Weights of the published layout on colour images: 23, 45, 91, 181 channels (p4m), 32, 64, 128, 256 (p4)."""
    planes = len(GROUPS[group])
    widths = (23, 45, 91, 181) if group == "p4m" else (32, 64, 128, 256)
    count, before = 9 * channels * widths[0] + 2 * widths[0], widths[0]
    for filters in widths:
        count += planes * 9 * (before * filters + 3 * filters**2) + 8 * filters
        count += (planes * before * filters + 2 * filters) * (before != filters)
        before = filters
    return count + (before if head == "pool" else before * planes) * classes + classes


@every_group
@pytest.mark.parametrize("head", ["pool", "flatten"])
def test_published_sizes(group: GroupName, head: str) -> None:
    """As many weights as the plain network, within a hundredth."""
    with torch.device("meta"):
        model = P4Resnet18.model_validate({"group": group, "head": head}).network(3, 32, 32, 10)
        plain = Resnet18().network(3, 32, 32, 10)
    ours, theirs = (sum(weight.numel() for weight in each.parameters()) for each in (model, plain))
    assert ours == size(group, head)
    assert abs(ours / theirs - 1) < 0.01


@every_group
def test_filters_are_drawn_with_kaiming_fan_out(group: GroupName) -> None:
    """N(0, 2 / (k^2 * out * |G|)): four standard errors of the sample's mean and of its variance."""
    torch.manual_seed(0)
    for lifts in (True, False):
        weight = GroupConv(group, 30, 40, 3, lifts=lifts).weight
        n, variance = weight.numel(), 2 / (9 * 40 * len(GROUPS[group]))
        assert weight.mean().abs() < 4 * (variance / n) ** 0.5
        assert (weight.square().mean() / variance - 1).abs() < 4 * (2 / n) ** 0.5


def small(**options: Any) -> nn.Sequential:
    """The network for MNIST: c channels, pixels, and classes are the test's."""
    layers = P4Cnn.model_validate({"width": 3, **options}).network(2, 13, 16, 5)
    assert isinstance(layers, nn.Sequential)
    drawn(layers).eval()
    return layers


@every_group
@pytest.mark.parametrize("sides", [(13, 13), (14, 14), (13, 16), (20, 20), (27, 27), (28, 28)])
def test_the_network_for_mnist_is_exact_at_every_size(group: GroupName, sides: tuple[int, int]) -> None:
    """Its maps turn, its planes move, and with a mean over both nothing is left of it in its logits."""
    layers, x = small(group=group), images(2, *sides)
    maps, spread = layers[:10](x), layers(x).std()
    assert spread > 0
    for u in GROUPS[group]:
        torch.testing.assert_close(layers[:10](u(x)), with_planes(u, group, maps), rtol=1e-10, atol=0)
    assert turned_apart(layers, group, x) < 1e-9


def test_the_network_for_mnist_as_published_is_not_invariant() -> None:
    layers = drawn(P4Cnn(head="flatten").network(1, 28, 28, 10)).eval()
    assert turned_apart(layers, "p4", images(1, 28, 28)) > 1e-3
    assert turned_apart(small(), "p4m", images(2, 13, 13)) > 1e-3


@every_group
@pytest.mark.parametrize(("head", "published"), [("flatten", 89_910), ("pool", 26_910)])
@pytest.mark.parametrize(("height", "width"), [(28, 28), (13, 16), (17, 30)])
def test_sizes_of_the_network_for_mnist(group: GroupName, head: str, published: int, height: int, width: int) -> None:
    """The formula of its docstring, and the published network's count: 100 + 3610 + 7220 + 14420 + 64050 + 510."""
    w, planes = 10, len(GROUPS[group])
    maps = [{28: 4, 13: 1, 16: 1, 17: 2, 30: 5}[side] for side in (height, width)]
    features = 2 * w * planes * maps[0] * maps[1] if head == "flatten" else 2 * w
    wanted = w * 10 + w * (9 * w * planes + 1) + 2 * w * (9 * w * planes + 1) + 2 * w * (18 * w * planes + 1)
    wanted += 50 * (features + 1) + 10 * 51
    layers = P4Cnn.model_validate({"group": group, "head": head}).network(1, height, width, 10)
    assert sum(weight.numel() for weight in layers.parameters()) == wanted
    assert (wanted == published) == (group == "p4" and ((height, width) == (28, 28) or head == "pool"))
    assert layers(torch.rand(2, 1, height, width)).shape == (2, 10)


CASES = ["p4_pad0", "p4_pad1", "p4m_pad0", "p4m_pad1", "p4_ksize1", "p4_ksize5", "p4_stride2"]


@pytest.mark.parametrize("case", CASES)
def test_layers_are_those_of_the_original(case: str, golden: Callable[[str], Golden]) -> None:
    """Outputs, outputs for turned and mirrored inputs, filter banks, and maxima of pixels per plane."""
    numbers = golden("14_p4_gconv")
    group: GroupName = "p4m" if case.startswith("p4m") else "p4"
    planes = len(GROUPS[group])

    def layer(name: str) -> GroupConv:
        w = {key: torch.from_numpy(numbers[f"{case}/{name}/w/{key}"]) for key in ("weight", "bias")
             if f"{case}/{name}/w/{key}" in numbers}  # fmt: skip
        filters, channels, _, kernel, _ = w["weight"].shape
        made = GroupConv(
            group, channels, filters, kernel, 2 if "stride2" in case else 1,
            lifts=name == "lift", padding=0 if "pad0" in case else None, bias="bias" in w,
        ).double()  # fmt: skip
        made.load_state_dict(w)
        return made

    x = torch.from_numpy(numbers["x"])
    layers = {name: layer(name) for name in ("lift", "group") if f"{case}/{name}/w/weight" in numbers}
    found: dict[str, Tensor] = {}
    for word, seen in (
        ("", x),
        ("_of_input_rotated_90_ccw", x.rot90(1, (-2, -1))),
        ("_of_input_flipped_lr", x.flip(-1)),
    ):
        f = seen
        for name, each in layers.items():
            f = found[f"{name}{word}"] = each(f if name == "lift" else f.relu())
    for name, each in layers.items():
        out, _, slots, kernel, _ = each.weight.shape
        found[f"expanded_filter_{name}"] = each.bank().view(out, planes, -1, slots, kernel, kernel)
    if "group" in layers:
        found["spatial_max_pool_2_2"] = F.max_pool2d(found["group"], 2)
    asked = [key.rpartition("/")[2] for key in numbers if key.startswith(f"{case}/out/")]
    assert asked
    for key in asked:
        expected = numbers[f"{case}/out/{key}"]
        assert close(found[key].reshape(expected.shape), expected), key
