"""Precision, determinism, layout and compilation: what they change, and that they change nothing else."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from robustray import UserError
from robustray.numerics import channels_last, numerics, plain_where_needed
from robustray.subjects.trial import load_model
from robustray.training import Trainer
from robustray.training import precision as networks
from robustray.training.optimisers import Optimiser
from robustray.training.precision import Autocast, network
from robustray.trial import TrialConfig
from tests.robustray.made import every, made, state, trial


def in_force() -> tuple[bool, ...]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        cudnn.allow_tf32,
        matmul.allow_tf32,
        cudnn.benchmark,
        cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("fixed_shapes", [False, True])
def test_numerics_hold_inside_and_are_gone_outside(tf32: bool, deterministic: bool, fixed_shapes: bool) -> None:
    before = in_force()

    def failing() -> None:
        with numerics(tf32=tf32, deterministic=deterministic, fixed_shapes=fixed_shapes):
            assert in_force() == (tf32, tf32, fixed_shapes and not deterministic, deterministic, deterministic)
            with numerics():
                assert in_force() == (False,) * 5, "float32 is float32, also in convolutions"
            assert in_force()[:2] == (tf32, tf32)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert in_force() == before


SETTINGS = [(kind, "all") for kind in ("generic", "cuda", "mkldnn")]
SETTINGS += [(kind, operation) for kind in ("cuda", "mkldnn") for operation in ("conv", "rnn", "matmul")]


def precisions() -> list[str]:
    return [torch._C._get_fp32_precision_getter(*setting) for setting in SETTINGS]


def ask(number: int, precision: str) -> None:
    torch._C._set_fp32_precision_setter(*SETTINGS[number], precision)


def without_parents() -> list[str]:
    """What is asked of single operations; the others fall back to what is asked of all."""
    for number in range(3):
        ask(number, "none")
    return precisions()


@pytest.fixture
def put_back() -> Iterator[None]:
    before = precisions()
    yield
    for number in range(len(SETTINGS)):
        ask(number, "none")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True
    for number, precision in enumerate(before):
        ask(number, precision)


@pytest.mark.usefixtures("put_back")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "lower",
    [
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
        *(partial(ask, number, precision) for number in range(9) for precision in ("ieee", "tf32")),
        *(partial(ask, number, "bf16") for number in (0, 2, 6, 7, 8)),
    ],
)
def test_float32_is_float32_whatever_the_process_asked_for(lower: Callable[[], None], nested: bool) -> None:
    """Both of torch's ways to ask, which it minds being mixed; a script's or a library's is not ours to change."""
    stream = torch.Generator().manual_seed(0)
    a, b = (torch.rand(256, 256, generator=stream) for _ in range(2))
    images, kernels = torch.rand(4, 64, 8, 8, generator=stream), torch.rand(64, 64, 3, 3, generator=stream)
    product, convolved = a @ b, nn.functional.conv2d(images, kernels)
    lower()
    wanted = without_parents()
    lower()
    before = precisions()
    asked = torch.autocast("cpu", enabled=nested), numerics(tf32=nested)
    with asked[0], asked[1], numerics() if nested else contextlib.nullcontext():
        assert in_force()[:2] == (False, False)
        assert torch.get_float32_matmul_precision() == "highest"
        assert set(precisions()) == {"none", "ieee"}
        assert torch.equal(a @ b, product)
        assert torch.equal(nn.functional.conv2d(images, kernels), convolved)
    assert precisions() == before
    assert without_parents() == wanted, "what falls back to another still does"


@pytest.mark.parametrize(("precision", "deterministic"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_an_epoch_is_trained_as_the_trial_says(
    precision: str, deterministic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(trial(precision=precision, deterministic=deterministic), tmp_path, device="cpu")
    train, seen, before = trainer.train_step, [], in_force()

    def step(rows: torch.Tensor) -> None:
        seen.append(in_force())
        train(rows)

    monkeypatch.setattr(trainer, "train_step", step)
    trainer.epoch()
    tf32 = precision == "tf32"
    assert set(seen) == {(tf32, tf32, not deterministic, deterministic, deterministic)}
    assert in_force() == before


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(288, 4)
    )


def test_channels_last_is_a_layout_and_the_same_function() -> None:
    plain, x = convolutional().double(), torch.rand(5, 3, 8, 8, dtype=torch.double)
    moved = network(convolutional().double(), "fp32", "off", x[:2])
    assert moved[3].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    torch.testing.assert_close(moved(x), plain(x))
    for a, b in zip(moved.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_without_batch_norm_keeps_its_layout_on_a_cpu() -> None:
    """It gains nothing there, and the gradient of the last ReLU is slow between two layouts."""
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)), torch.rand(2, 3, 8, 8)
    assert network(model, "fp32", "off", x)[0].weight.is_contiguous()  # type: ignore[index]


@pytest.mark.parametrize("how", ["trained", "compiled", "measured"])
def test_a_narrow_network_goes_back_with_batches_that_threads_cannot_share(how: str) -> None:
    """In channels_last oneDNN would write outside its memory, and the process die at the latest at its end."""
    code = f"""
import itertools
import torch
from torch import nn
from robustray.data import Digits
from robustray.registry import parts
from robustray.subjects.classifier import Classifier
from robustray.training.precision import network
x = torch.rand(7, 32, 32, 1).permute(0, 3, 1, 2)
narrow = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
    nn.Conv2d(8, 16, 1, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten())
whole = parts("model")["preact_resnet18"](width=8).build(Digits(validation=400))
make = dict(
    trained=lambda: network(whole, "fp32", "off", x[:2]),
    compiled=lambda: network(narrow, "fp32", "default", x[:2]),
    measured=lambda: Classifier.of(whole, "whole", "whole").model.requires_grad_(True),
)
model = make[{how!r}]()
for threads, images in itertools.product((1, 2), (x, x.contiguous())):
    torch.set_num_threads(threads)
    for count in (7,) * 50 if {how!r} == "compiled" else (3, 5, 7):
        for _ in range(3):
            model(images[:count]).sum().backward()
print("whole")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


@pytest.mark.parametrize("shape", [(7, 8, 9, 9), (7, 1, 9, 9), (1, 8, 9, 9), (7, 8, 1, 1)])
@pytest.mark.parametrize("permuted", [False, True])
def test_a_narrow_convolution_gets_plain_strides_and_the_same_numbers(shape: tuple[int, ...], permuted: bool) -> None:
    batch, channels, height, width = shape
    x = torch.rand(batch, height, width, channels).permute(0, 3, 1, 2) if permuted else torch.rand(shape)
    model, seen = nn.Sequential(nn.Conv2d(channels, 16, 1, stride=2)), list[torch.Tensor]()
    expected = model.double()(x.double()).float()
    model.float()
    for _ in range(2):
        plain_where_needed(model)
    model[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(model(x), expected)
    assert torch.equal(seen[0], x)
    assert seen[0].stride() == torch.empty(shape).stride()
    assert len(model[0]._forward_pre_hooks) == 2, "once"


class Viewed(nn.Sequential):
    """A network as scripts have it: its activations are viewed as rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, last = self
        logits: torch.Tensor = last(first(x).view(len(x), -1))
        return logits


def test_a_network_that_takes_views_stays_as_it_is() -> None:
    kernel = nn.Conv2d(3, 4, 3)
    first = nn.Sequential(kernel, nn.BatchNorm2d(4)).eval()
    model, x = Viewed(first, nn.Linear(144, 2)), torch.rand(2, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    channels_last(model, x)
    assert kernel.weight.is_contiguous()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert (model.training, first.training) == (True, False)
    assert model(x).shape == (2, 2)


def test_asking_for_the_layout_leaves_the_model_as_it_was() -> None:
    model, x = convolutional(), torch.rand(4, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    channels_last(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), (
        "batch norm's memory too"
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())


def test_layout_survives_a_checkpoint(tmp_path: Path) -> None:
    options = trial(
        model={"name": "preact_resnet18", "width": 16}, schedule={"name": "constant", "epochs": 2, "lr": 0.1}
    )
    Trainer(options, tmp_path, device="cpu").epoch()
    second = Trainer(options, tmp_path, device="cpu")
    assert second.completed == 1
    kernels = [m.weight for m in second.model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert kernels
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert all(value.is_contiguous() for part in ("average", "model") for value in saved[part].values()), "for others"


@every("optimiser")
def test_another_layout_goes_on_with_the_same_moments(
    cls: type[Optimiser], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As float32 has it on another kind of device. Fused steps take moments as they lie in memory."""
    config = trial(
        model={"name": "preact_resnet18", "width": 16}, batch={"size": 400}, defense="natural", optimiser=made(cls)
    )
    Trainer(config, tmp_path, device="cpu").epoch()
    ways = []
    for elsewhere in (False, True):
        if elsewhere:
            monkeypatch.setattr(networks, "channels_last", lambda *_: None)
        trainer = Trainer(config, tmp_path, device="cpu")
        assert trainer.completed == 1
        for weight, kept in trainer.optimiser.state.items():
            moments = [value for value in kept.values() if isinstance(value, torch.Tensor) and value.ndim]
            assert moments
            assert all(moment.stride() == weight.stride() for moment in moments)
        with trainer.at_work():
            trainer.train_step(torch.arange(400))
        ways.append({name: value.contiguous() for name, value in state(trainer.model).items()})
    for name, value in ways[0].items():
        torch.testing.assert_close(ways[1][name], value, rtol=1e-3, atol=1e-5)


def test_bf16_is_inside_the_network_alone() -> None:
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    wrapped = network(convolutional(), "bf16", "off", x.detach())
    assert isinstance(wrapped, Autocast)
    seen = []
    wrapped.model[3].register_forward_hook(lambda *call: seen.append(call[2].dtype))  # type: ignore[index]
    logits = wrapped(x)
    (slope,) = torch.autograd.grad(logits.sum(), x)
    assert seen == [torch.bfloat16]
    assert logits.dtype == slope.dtype == torch.float32


class Lowered(nn.Linear):
    """A network with an autocast of its own, as some come."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(x).float()


@pytest.mark.parametrize("within", [contextlib.nullcontext(), torch.autocast("cpu", dtype=torch.bfloat16)])
@pytest.mark.parametrize(
    ("model", "arithmetic"),
    [
        (Autocast(nn.Linear(8, 4)), contextlib.nullcontext),
        (Autocast(nn.Linear(8, 4)), numerics),
        (Lowered(8, 4), numerics),  # outside of ours its casts are its business
    ],
)
def test_a_pass_sees_the_weights_of_its_moment(model: nn.Module, arithmetic: Any, within: Any) -> None:
    """Autocast keeps its casts of weights until its outermost block ends."""
    x = torch.rand(3, 8)
    with within, arithmetic():
        model(x).sum().backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight.zero_()
        assert not model(x).any()


def test_off_is_off_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "trial.yaml"
    text = "judge: {data: {name: digits, validation: 400}, threat: {eps: 0.1}}\n"
    for said, expected in (("off", "off"), ("default", "default"), ('"off"', "off"), ("false", "off")):
        path.write_text(f"{text}compile: {said}\n")
        assert TrialConfig.from_yaml(path).compile == expected
    for wrong in ("on", "fast", "1"):
        path.write_text(f"{text}compile: {wrong}\n")
        with pytest.raises(UserError, match=r"trial\.yaml:2: compile: must be 'off', 'default' or 'max'"):
            TrialConfig.from_yaml(path)


def test_gradients_of_gradients_are_not_compiled() -> None:
    with pytest.raises(
        ValueError, match="llr differentiates gradients, which compiled networks cannot; use compile: off"
    ):
        trial(defense="llr", compile="default")
    assert trial(defense="llr").compile == "off"


def test_compiled_training_learns_the_same(tmp_path: Path) -> None:
    """The same losses up to rounding, weights under the same names, one program for attacks and one for training."""
    options: dict[str, Any] = {"defense": "trades", "averaging": "none", "seed": 3}
    reports, weights = [], []
    for name, compiled in (("off", "off"), ("default", "default")):
        trainer = Trainer(trial(**options, compile=compiled), tmp_path / name, device="cpu")
        reports.append(trainer.run())
        config, model, _ = load_model(tmp_path / name, "cpu")
        assert config.compile == compiled
        weights.append(model.state_dict())
    assert reports[0]["loss"] == pytest.approx(reports[1]["loss"], rel=1e-3)
    assert list(weights[0]) == list(weights[1])
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0.05, atol=0.01)
    resumed = Trainer(trial(**options, compile="default"), tmp_path / "default", device="cpu")
    assert resumed.exact, "it is over: nothing is continued"

    torch._dynamo.reset()  # as in a new process, which finds what others compiled
    counters.clear()
    Trainer(trial(**options, compile="default"), tmp_path / "again", device="cpu").epoch()
    assert counters["inductor"]["fxgraph_cache_hit"] >= 2
    assert not counters["inductor"]["fxgraph_cache_miss"]


def test_every_network_of_a_process_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch by itself keeps eight programs for all of them, and runs what comes after as it is."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **_: compiled(model, backend="eager", dynamic=False))
    monkeypatch.setattr(networks, "_kept", (None, False))
    torch._dynamo.reset()
    numbers = itertools.count()

    def programs(width: int, threads: int = 1, **options: Any) -> int:
        """How many a trial adds."""
        before = counters["stats"]["unique_graphs"]
        config = trial(model={"name": "small_cnn", "width": width}, compile="default", **options)
        Trainer(config, tmp_path / str(next(numbers)), device="cpu", threads=threads).epoch()
        return counters["stats"]["unique_graphs"] - before

    before = torch.get_num_threads()
    try:
        widths = [programs(width) for width in (2, 3, 4, 5, 5, 2)]
        assert widths[0] > 1
        assert widths == [*widths[:1] * 4, 0, widths[0]], "another trial of the same network takes what is there"
        assert [programs(2, threads) for threads in (2, 3, 4)] == widths[:1] * 3
        assert all(programs(2, batch={"size": size}) for size in (100, 200, 300))
        assert programs(2, attack={"steps": 2, "start": "none"}, defense="trades")
    finally:
        torch.set_num_threads(before)


def test_a_compiled_trial_that_goes_on_says_that_it_is_not_exact(tmp_path: Path) -> None:
    for compiled, exact in (("off", True), ("default", False)):
        config = trial(compile=compiled)
        first = Trainer(config, tmp_path / compiled, device="cpu")
        first.progress.completed, first.progress.history = 1, [{"epoch": 1.0}]
        first.save()
        assert Trainer(config, tmp_path / compiled, device="cpu").exact is exact
