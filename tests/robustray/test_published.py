"""Published weights of others: made-up ones in their layouts load, and compute what their authors' networks do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from robustray.data import DataSource
from robustray.data.npz import Npz
from robustray.errors import UserError
from robustray.models import DeepmindPreactResnet, DeepmindWideResnet, WideResnet
from robustray.models.published import CONSTANTS, DeepmindNet
from robustray.models.published_networks import SameConv
from robustray.subjects import load
from tests.robustray.judged import Command
from tests.robustray.made import generator

State = dict[str, Tensor]
Forward = Callable[[State, Tensor], Tensor]


def normal(w: State, name: str, x: Tensor) -> Tensor:
    mean, variance, scale, shift = (
        w[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def strided(x: Tensor, weight: Tensor, first: bool) -> Tensor:
    """The authors' way with 3x3 filters: a row and a column of zeros on the right and below where the stride is 2."""
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), weight, stride=2) if first else F.conv2d(x, weight, padding=1)


def end(w: State, x: Tensor) -> Tensor:
    return F.silu(normal(w, "batchnorm", x)).mean((2, 3)) @ w["logits.weight"].T + w["logits.bias"]


def wide(w: State, x: Tensor) -> Tensor:
    """The wide networks of Gowal et al., by the names of their weights, of normalised x."""
    x = F.conv2d(x, w["init_conv.weight"], padding=1)
    for block in dict.fromkeys(name.rpartition(".batchnorm_0")[0] for name in w if ".batchnorm_0" in name):
        half = block in ("layer.1.block.0", "layer.2.block.0")
        a = F.silu(normal(w, f"{block}.batchnorm_0", x))
        inner = F.silu(normal(w, f"{block}.batchnorm_1", strided(a, w[f"{block}.conv_0.weight"], half)))
        around = (
            x if f"{block}.shortcut.weight" not in w else F.conv2d(a, w[f"{block}.shortcut.weight"], stride=1 + half)
        )
        x = around + F.conv2d(inner, w[f"{block}.conv_1.weight"], padding=1)
    return end(w, x)


def preactivated(w: State, x: Tensor) -> Tensor:
    """The pre-activation networks of Rebuffi et al., by the names of their weights, of normalised x."""
    x = F.conv2d(x, w["conv_2d.weight"], padding=1)
    for block in dict.fromkeys(name.rpartition(".batchnorm_0")[0] for name in w if ".batchnorm_0" in name):
        half = block.endswith(".0") and block != "layer_0.0"
        inner = strided(F.silu(normal(w, f"{block}.batchnorm_0", x)), w[f"{block}.conv_2d_1.weight"], half)
        inner = F.conv2d(F.silu(normal(w, f"{block}.batchnorm_1", inner)), w[f"{block}.conv_2d_2.weight"], padding=1)
        x = inner + (strided(x, w[f"{block}.shortcut.weight"], half) if f"{block}.shortcut.weight" in w else x)
    return end(w, x)


def batchnorm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def wide_layout(blocks: int, width: int, classes: int = 10) -> dict[str, tuple[int, ...]]:
    """Names and shapes of WRN-(6 blocks + 4)-width in the authors' files."""
    found: dict[str, tuple[int, ...]] = {"init_conv.weight": (16, 3, 3, 3)}
    before = 16
    for group in range(3):
        filters = 16 * width * 2**group
        for number in range(blocks):
            name = f"layer.{group}.block.{number}"
            found |= batchnorm(f"{name}.batchnorm_0", before) | {f"{name}.conv_0.weight": (filters, before, 3, 3)}
            found |= batchnorm(f"{name}.batchnorm_1", filters) | {f"{name}.conv_1.weight": (filters, filters, 3, 3)}
            if before != filters:
                found[f"{name}.shortcut.weight"] = (filters, before, 1, 1)
            before = filters
    return found | batchnorm("batchnorm", before) | {"logits.weight": (classes, before), "logits.bias": (classes,)}


def preact_layout(blocks: tuple[int, ...], width: int, classes: int = 10) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a pre-activation ResNet in the authors' files."""
    found: dict[str, tuple[int, ...]] = {"conv_2d.weight": (width, 3, 3, 3)}
    before = width
    for layer, count in enumerate(blocks):
        filters = width * 2**layer
        for number in range(count):
            name = f"layer_{layer}.{number}"
            found |= batchnorm(f"{name}.batchnorm_0", before) | {f"{name}.conv_2d_1.weight": (filters, before, 3, 3)}
            found |= batchnorm(f"{name}.batchnorm_1", filters) | {f"{name}.conv_2d_2.weight": (filters, filters, 3, 3)}
            if layer and not number:
                found[f"{name}.shortcut.weight"] = (filters, before, 3, 3)
            before = filters
    return found | batchnorm("batchnorm", before) | {"logits.weight": (classes, before), "logits.bias": (classes,)}


def drawn(layout: dict[str, tuple[int, ...]], seed: int = 0) -> State:
    """Weights of a layout, float32 as in files; batch norm's are not those of the beginning."""
    stream, state = generator(seed), {}
    for name, shape in layout.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif name.endswith("running_var"):
            state[name] = torch.rand(shape, generator=stream) + 0.5
        elif name.endswith("weight") and len(shape) > 1:
            state[name] = torch.randn(shape, generator=stream) / torch.tensor(shape[1:]).prod() ** 0.5
        else:
            state[name] = torch.randn(shape, generator=stream) * 0.3 + (1 if name.endswith("weight") else 0)
    return state


LAYOUTS: dict[str, tuple[State, Forward, str]] = {
    "wide": (drawn(wide_layout(1, 1)), wide, "name: deepmind_wide_resnet, depth: 10, width: 1"),
    "wider": (drawn(wide_layout(2, 2)), wide, "name: deepmind_wide_resnet, depth: 16, width: 2"),
    "preact18": (drawn(preact_layout((2, 2, 2, 2), 4)), preactivated, "name: deepmind_preact_resnet, width: 4"),
    "preact34": (
        drawn(preact_layout((3, 4, 6, 3), 2)),
        preactivated,
        "name: deepmind_preact_resnet, depth: 34, width: 2",
    ),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


@pytest.fixture
def colour(tmp_path: Path) -> DataSource:
    """Images of 32x32 pixels in colour, 10 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", images=pixels, labels=np.arange(40) % 10)
    return Npz(train=str(tmp_path / "data.npz"), test=str(tmp_path / "data.npz"), validation=10)


def loaded(path: Path, architecture: str | None, data: DataSource) -> Callable[[Tensor], Tensor]:
    return load(str(path), architecture=architecture, data=data, norm="linf").model.double()


def images() -> Tensor:
    return torch.rand(3, 3, 32, 32, generator=generator(5), dtype=torch.float64)


def expected(layout: str, data: str, x: Tensor) -> Tensor:
    """What the authors' network computes: normalised with constants of their code, float32 as there."""
    state, forward, _ = LAYOUTS[layout]
    mean, std = (torch.tensor(values)[:, None, None].double() for values in CONSTANTS[data])
    return forward({name: value.double() for name, value in state.items()}, (x - mean) / std)


@every_layout
@pytest.mark.parametrize("data", [data for data in CONSTANTS if data != "mnist"])
def test_published_weights_compute_what_they_do_there(
    layout: str, data: str, colour: DataSource, tmp_path: Path
) -> None:
    state, _, options = LAYOUTS[layout]
    torch.save(state, tmp_path / "weights.pt")
    model = loaded(tmp_path / "weights.pt", f"{{{options}, statistics: {data}}}", colour)
    with torch.no_grad():
        torch.testing.assert_close(model(images()), expected(layout, data, images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", ["wide", "preact18"])
def test_published_weights_of_mnist_see_two_black_pixels_around(layout: str, tmp_path: Path) -> None:
    """Padded before they are normalised, as there."""
    state, forward, options = LAYOUTS[layout]
    first = next(iter(state))
    state = state | {first: state[first][:, :1].clone()}
    torch.save(state, tmp_path / "weights.pt")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "grey.npz", images=pixels, labels=np.arange(40) % 10)
    data = Npz(train=str(tmp_path / "grey.npz"), test=str(tmp_path / "grey.npz"), validation=10)
    model = loaded(tmp_path / "weights.pt", f"{{{options}, statistics: mnist}}", data)
    x = torch.rand(3, 1, 28, 28, generator=generator(5), dtype=torch.float64)
    double = {name: value.double() for name, value in state.items()}
    with torch.no_grad():
        torch.testing.assert_close(model(x), forward(double, (F.pad(x, (2,) * 4) - 0.5) / 0.5), rtol=1e-10, atol=1e-10)


def raw(state: State) -> State:
    """Other weights of the same layout: those that were not averaged."""
    return {name: value + 1 for name, value in state.items()}


def with_front(state: State, front: str) -> State:
    return {f"{front}{name}": value for name, value in state.items()}


AS_SAVED: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "DataParallel of Sequential": lambda state: with_front(state, "module.0."),
    "averaged beside raw": lambda state: {
        "model_state_dict": with_front(state, "module.0."),
        "unaveraged_model_state_dict": with_front(raw(state), "module.0."),
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 0.2}]},
        "epoch": 400,
    },
    "ema": lambda state: {"state_dict": raw(state), "ema": state},
    "timm": lambda state: {"state_dict": raw(state), "state_dict_ema": with_front(state, "module.")},
    "AveragedModel": lambda state: {
        "model": raw(state),
        "model_ema": {"n_averaged": torch.tensor(9), **with_front(state, "module.0.")},
    },
    "parameters alone averaged": lambda state: {
        "ema": {"shadow.0": torch.ones(2)}, "model_state_dict": with_front(state, "module.0."),
    },
    "constants as buffers": lambda state: {
        "mean": torch.tensor(CONSTANTS["cifar10"][0])[:, None, None],
        "std": torch.tensor(CONSTANTS["cifar10"][1])[:, None, None],
        **state,
    },
    "constants as buffers of a wrapped one": lambda state: with_front(AS_SAVED["constants as buffers"](state), "module.0."),
}  # fmt: skip


@pytest.mark.parametrize("saved", AS_SAVED)
@pytest.mark.parametrize("layout", ["wide", "preact18"])
def test_however_they_are_saved(saved: str, layout: str, colour: DataSource, tmp_path: Path) -> None:
    """Averaged weights are taken, prefixes come off, and constants among the weights need not be said."""
    state, _, options = LAYOUTS[layout]
    torch.save(AS_SAVED[saved](state), tmp_path / "weights.pt")
    said = "" if "constants" in saved else ", statistics: cifar10"
    model = loaded(tmp_path / "weights.pt", f"{{{options}{said}}}", colour)
    with torch.no_grad():
        torch.testing.assert_close(model(images()), expected(layout, "cifar10", images()), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("said", "layout", "options"),
    [
        ({"model": "wrn-10-1-swish", "data": "cifar10s", "normalize": False}, "wide", ""),
        ({"model": "wrn-16-2-swish", "data": "cifar100"}, "wider", ""),
        ({"model": "wrn-10-1-swish", "data": "svhns", "lr": 0.2}, "wide", ""),
        ({"model": "wrn-10-1-swish", "data": "tiny-imagenets"}, "wide", ""),
    ],
)
def test_args_txt_beside_the_weights_says_the_network(
    said: dict[str, Any], layout: str, options: str, colour: DataSource, tmp_path: Path
) -> None:
    torch.save({"model_state_dict": with_front(LAYOUTS[layout][0], "module.0.")}, tmp_path / "weights-best.pt")
    (tmp_path / "args.txt").write_text(json.dumps(said, indent=4))
    model = loaded(tmp_path / "weights-best.pt", None, colour)
    data = said["data"].removesuffix("s").replace("-", "_")
    with torch.no_grad():
        torch.testing.assert_close(model(images()), expected(layout, data, images()), rtol=1e-10, atol=1e-10)


def test_a_pre_activation_network_by_its_args_txt(colour: DataSource, tmp_path: Path) -> None:
    """Of the published width, which the file does not say."""
    state = drawn(preact_layout((2, 2, 2, 2), 64))
    torch.save({"model_state_dict": with_front(state, "module.0.")}, tmp_path / "weights-best.pt")
    (tmp_path / "args.txt").write_text('{"model": "preact-resnet18-swish", "data": "cifar10"}')
    found = load(str(tmp_path / "weights-best.pt"), architecture=None, data=colour, norm="linf")
    assert torch.equal(found.model.state_dict()["1.layer_3.1.conv_2d_2.weight"], state["layer_3.1.conv_2d_2.weight"])
    assert found.architecture == "{name: deepmind_preact_resnet, depth: 18, statistics: cifar10}"


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ('{"model": "resnet18", "data": "cifar10"}', r"say .* --architecture \(.*args.txt has model 'resnet18'"),
        ('{"model": "wrn-10-1-swish", "data": "cifar10", "normalize": true}', r"args.txt: normalize is true"),
        ('{"model": "wrn-11-1-swish", "data": "cifar10"}', r"args.txt deepmind_wide_resnet: depth: must be 6n \+ 4"),
        ('{"model": "preact-resnet50-swish", "data": "cifar10"}', r"deepmind_preact_resnet: depth: must be"),
        ('{"model": "wrn-10-1-swish", "data": "stl10"}', r"args.txt deepmind_wide_resnet: statistics: must be"),
        ('{"model": "wrn-10-1-swish"}', r"args.txt deepmind_wide_resnet: statistics: must be"),
        ("model: wrn-10-1-swish", r"args.txt: not JSON .*--architecture"),
        ("[1]", r"args.txt: holds a list"),
        ("", r"args.txt: not JSON"),
    ],
)
def test_args_txt_that_does_not_help(said: str, wrong: str, colour: DataSource, tmp_path: Path) -> None:
    torch.save(with_front(LAYOUTS["wide"][0], "module.0."), tmp_path / "weights-best.pt")
    (tmp_path / "args.txt").write_text(said)
    with pytest.raises(UserError, match=wrong) as refused:
        loaded(tmp_path / "weights-best.pt", None, colour)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("layout", "front", "architecture", "wrong"),
    [
        (
            "wide",
            "module.0.",
            "deepmind_wide_resnet, depth: 10, width: 1",
            r"not among them; say .* statistics: cifar10",
        ),
        ("wide", "module.1.", "deepmind_wide_resnet, depth: 10, width: 1, statistics: cifar10", "part 1 of a sequence"),
        ("wide", "2.", "deepmind_wide_resnet, depth: 10, width: 1, statistics: cifar10", "part 2 of a sequence"),
        ("wide", "", "deepmind_wide_resnet, depth: 16, width: 1, statistics: cifar10", "do not fit"),
        ("wider", "", "deepmind_wide_resnet, depth: 16, width: 3, statistics: cifar10", "do not fit .*size mismatch"),
        ("wide", "", "wide_resnet, depth: 10, width: 1", r"do not fit .*Missing key"),
    ],
)
def test_weights_that_would_compute_something_else_are_refused(
    layout: str, front: str, architecture: str, wrong: str, colour: DataSource, tmp_path: Path
) -> None:
    """In a line that can be read, however many names there are."""
    torch.save(with_front(LAYOUTS[layout][0], front), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=wrong) as refused:
        loaded(tmp_path / "weights.pt", f"{{name: {architecture}}}", colour)
    assert len(str(refused.value)) < 500


def test_weights_of_a_bare_network_of_ours_are_refused_with_a_remedy(colour: DataSource, tmp_path: Path) -> None:
    """They fit, but nobody says how pixels were normalised."""
    torch.save(WideResnet(depth=10, width=1).network(3, 32, 32, 10).state_dict(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"not among them; name a function"):
        loaded(tmp_path / "weights.pt", "{name: wide_resnet, depth: 10, width: 1}", colour)


@pytest.mark.parametrize("published", [True, False])
def test_weights_vote_under_noise_and_without(published: bool, colour: DataSource, tmp_path: Path) -> None:
    """A vote has the weights of its base: those of either load into the other, and published ones into both."""
    base = "{name: deepmind_wide_resnet, depth: 10, width: 1, statistics: cifar10}"
    vote = f"{{name: noise_smoothed, sigma: 1/100000000, samples: 3, base: {base}}}"
    torch.save(LAYOUTS["wide"][0], tmp_path / "base.pt")
    if not published:
        torch.save(load(str(tmp_path / "base.pt"), architecture=base, data=colour, norm="linf").model.float().state_dict(),
                   tmp_path / "base.pt")  # fmt: skip
    voting = load(str(tmp_path / "base.pt"), architecture=vote, data=colour, norm="linf").model
    torch.save(voting.state_dict(), tmp_path / "vote.pt")
    with torch.no_grad():
        said = expected("wide", "cifar10", images())
        votes = ((3 * F.one_hot(said.argmax(1), 10) + said.softmax(1)) / 4).log()
        torch.testing.assert_close(voting.double()(images()), votes, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(loaded(tmp_path / "vote.pt", base, colour)(images()), said, rtol=1e-10, atol=1e-10)


def test_constants_need_images_in_colour() -> None:
    from robustray.data.digits import Digits

    with pytest.raises(
        UserError, match=r"needs images with 3 channels, but those of digits have 1; use statistics: data"
    ):
        DeepmindWideResnet(depth=10, width=1, statistics="cifar10").build(Digits(validation=60))


@pytest.mark.parametrize("architecture", [DeepmindWideResnet(depth=10, width=1), DeepmindPreactResnet(width=2)])
def test_constants_of_the_data_and_of_the_authors(architecture: DeepmindNet, colour: DataSource) -> None:
    own = architecture.build(colour).state_dict()
    assert torch.allclose(own["0.mean"].flatten(), torch.tensor(colour.statistics()[0]))
    theirs = architecture.model_copy(update={"statistics": "svhn"}).build(colour).state_dict()
    assert (theirs["0.mean"] == 0.5).all()
    assert (theirs["0.std"] == 0.5).all()


def test_batch_norm_takes_a_hundredth_of_every_batch() -> None:
    for architecture in (DeepmindWideResnet(depth=10, width=1), DeepmindPreactResnet(width=2)):
        network = architecture.network(3, 8, 8, 10)
        norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        assert norms
        assert {norm.momentum for norm in norms} == {0.01}


@pytest.mark.parametrize(("stride", "side"), [(1, 4), (1, 5), (2, 4), (2, 5), (2, 2), (2, 1)])
def test_same_padding_is_that_of_tensorflow(stride: int, side: int) -> None:
    """ceil(side / stride) pixels; of an odd number of zeros the one more lies at the end."""
    layer = SameConv(1, 1, stride)
    out = -(-side // stride)
    zeros = max(0, (out - 1) * stride + 3 - side)
    x = torch.randn(1, 1, side, side, generator=generator())
    padded = F.pad(x, (zeros // 2, zeros - zeros // 2) * 2)
    torch.testing.assert_close(layer(x), F.conv2d(padded, layer.weight, stride=stride))
    assert layer(x).shape[2:] == (out, out)


@pytest.mark.parametrize(
    ("architecture", "count"),
    [
        (DeepmindWideResnet(), 36_479_194),
        (DeepmindWideResnet(depth=70, width=16), 266_796_506),
        (DeepmindPreactResnet(), 12_548_426),
        (DeepmindPreactResnet(depth=34), 22_656_586),
    ],
    ids=str,
)
def test_names_shapes_and_number_of_weights(architecture: DeepmindNet, count: int) -> None:
    with torch.device("meta"):
        network = architecture.network(3, 32, 32, 10)
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if isinstance(architecture, DeepmindWideResnet):
        assert shapes == wide_layout((architecture.depth - 4) // 6, architecture.width)
    else:
        assert isinstance(architecture, DeepmindPreactResnet)
        assert shapes == preact_layout({18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[architecture.depth], 64)
    assert sum(weight.numel() for weight in network.parameters()) == count


def test_the_command_judges_what_lies_beside_its_args_txt(command: Command, colour: DataSource, tmp_path: Path) -> None:
    torch.save({"model_state_dict": with_front(LAYOUTS["wide"][0], "module.0.")}, tmp_path / "weights-best.pt")
    (tmp_path / "args.txt").write_text('{"model": "wrn-10-1-swish", "data": "cifar10s", "normalize": false}')
    data = "{name: npz, train: data.npz, test: data.npz, validation: 10}"
    judged = command.judge(
        "weights-best.pt", "--data", data, "--split", "test", "--eps", "8/255", "--version", "apgd-ce", "--images", "4"
    )
    assert judged.result["images"] == 4
