"""What every architecture promises: pixels in, logits out, at any size it takes; normalisation inside; dropout in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.data import Digits, Npz
from robustray.errors import UserError
from robustray.models import Architecture
from robustray.models.heads import OUT, OwnHead
from robustray.models.normalise import Normalise
from robustray.training.precision import Autocast
from tests.robustray.made import every, generator, made, same, state, variants

Shape = tuple[int, int, int]


def small(architecture: Architecture, **options: Any) -> Architecture:
    """The same architecture with a quarter of its channels and the fewest layers: its promises then take no time."""
    fields = type(architecture).model_fields
    if "width" in fields:
        options["width"] = fields["width"].default // 4
    if "depth" in fields:
        options["depth"] = next(bound.ge for bound in fields["depth"].metadata if hasattr(bound, "ge"))
    return type(architecture).model_validate(architecture.model_dump() | options)


def drops(architecture: Architecture) -> list[str]:
    """The options that are probabilities of dropout."""
    return [name for name in type(architecture).model_fields if name.endswith("dropout")]


def at_least(architecture: Architecture, shape: Shape) -> Shape:
    """The shape, with what the architecture needs at least."""
    channels, height, width = shape
    return channels, max(height, architecture.smallest), max(width, architecture.smallest)


def network(architecture: Architecture, shape: Shape, classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return small(architecture).network(*at_least(architecture, shape), classes)


def images(architecture: Architecture, shape: Shape, n: int = 4) -> Tensor:
    return torch.rand(n, *at_least(architecture, shape), generator=generator())


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Npz:
    """The digits at 16x16 pixels, which every architecture takes."""
    folder, digits = tmp_path_factory.mktemp("larger"), Digits(validation=60).load("train")
    doubled = np.kron(digits.images, np.ones((1, 2, 2, 1), dtype=np.uint8))
    paths = {split: str(folder / f"{split}.npz") for split in ("train", "test")}
    for path in paths.values():
        np.savez(Path(path), images=doubled, labels=digits.labels)
    return Npz(validation=60, **paths)


@every("model")
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 28, 28), (3, 32, 32), (3, 64, 64)])
def test_any_size(cls: type[Architecture], shape: Shape) -> None:
    architecture = made(cls)
    logits = network(architecture, shape, 7)(images(architecture, shape))
    assert logits.shape == (4, 7)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@variants("model", "architecture")
def test_every_weight_and_pixel_matters(architecture: Architecture) -> None:
    model = network(architecture, (3, 8, 8), 5).train()
    x = images(architecture, (3, 8, 8), 16).requires_grad_()
    (model(x) * torch.randn(16, 5, generator=generator(1))).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    largest = {name: w.grad.abs().max() if w.grad is not None else 0 for name, w in model.named_parameters()}
    assert [name for name, gradient in largest.items() if gradient < 1e-5] == []  # 1e-7: cancelled by what follows


@variants("model", "architecture")
def test_one_image_at_a_time_in_eval_mode(architecture: Architecture) -> None:
    """An image's logits do not depend on its neighbours or on chance: per-image verdicts mean something."""
    model, x = network(architecture, (1, 8, 8), 10).eval().double(), images(architecture, (1, 8, 8)).double()
    with torch.no_grad():
        together = model(x)
        torch.testing.assert_close(torch.cat([model(x[i : i + 1]) for i in range(4)]), together)
        assert torch.equal(model(x), together)


@every("model")
def test_dropout_is_active_in_training_alone(cls: type[Architecture]) -> None:
    architecture = made(cls)
    names, x = drops(architecture), images(architecture, (1, 8, 8))
    assert names
    shape = at_least(architecture, (1, 8, 8))
    off = small(architecture, **dict.fromkeys(names, 0.0)).network(*shape, 10)
    assert torch.equal(off.train()(x), off(x))
    weights = state(off)  # batch norm has counted two batches
    for name in names:
        on = small(architecture, **(dict.fromkeys(names, 0.0) | {name: 0.5})).network(*shape, 10)
        on.load_state_dict(weights)
        assert not torch.equal(on.train()(x), on(x))
        on.load_state_dict(weights)
        assert torch.equal(on.eval()(x), off.eval()(x))


@every("model")
def test_weights_come_from_the_global_seed(cls: type[Architecture]) -> None:
    architecture = made(cls)
    first, again, other = (state(network(architecture, (1, 8, 8), 10, seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


@every("model")
def test_weights_travel(cls: type[Architecture]) -> None:
    architecture = made(cls)
    a, b = network(architecture, (1, 8, 8), 10, 0).eval(), network(architecture, (1, 8, 8), 10, 1).eval()
    b.load_state_dict(a.state_dict())
    x = images(architecture, (1, 8, 8))
    assert torch.equal(a(x), b(x))


@variants("model", "architecture")
def test_bfloat16(architecture: Architecture) -> None:
    model, x = network(architecture, (3, 8, 8), 10).eval(), images(architecture, (3, 8, 8))
    with torch.no_grad():
        exact, logits = model(x), Autocast(model)(x)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact)
    assert (logits - exact).abs().max() <= 0.1 * exact.abs().max() + 0.02


@every("model")
def test_built_for_data(cls: type[Architecture], larger: Npz) -> None:
    """Normalisation is the first layer, with the training images' own constants, which training cannot move."""
    model = small(made(cls)).build(larger).eval()
    assert isinstance(model, nn.Sequential)
    first, rest = model[0], model[1]
    assert isinstance(first, Normalise)
    assert not list(first.parameters())
    x = torch.from_numpy(larger.load("train").images).permute(0, 3, 1, 2).float() / 255
    normal = first(x)
    assert normal.mean().abs() < 1e-5
    assert normal.std().item() == pytest.approx(1, abs=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(model(x[:9]), rest((x[:9] - x.mean()) / x.std(correction=0)), rtol=1e-4, atol=1e-4)
    assert model(x[:2]).shape == (2, larger.classes)
    assert {"0.mean", "0.std"} <= set(model.state_dict())  # they travel with the weights


@every("model")
def test_auxiliary_outputs(cls: type[Architecture], larger: Npz) -> None:
    """Rows of the last layer that only `OwnHead` shows: the class logits are those of the first rows."""
    torch.manual_seed(0)
    model = small(made(cls)).build(larger, aux_outputs=4).eval()
    x = torch.rand(6, 1, 16, 16, generator=generator())
    auxiliary = torch.arange(6) >= 3
    with torch.no_grad():
        logits, outputs = model(x), OwnHead(model, auxiliary)(x)
    assert logits.shape == (6, larger.classes)
    assert outputs.shape == (6, larger.classes + 4)
    torch.testing.assert_close(outputs[:3, : larger.classes], logits[:3])
    assert ((outputs == OUT) == (auxiliary[:, None] ^ (torch.arange(larger.classes + 4) >= larger.classes))).all()


@every("model")
def test_images_that_are_too_small(cls: type[Architecture]) -> None:
    architecture = small(made(cls))
    if architecture.smallest <= 8:
        assert architecture.build(Digits(validation=60)).eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
        return
    with pytest.raises(
        UserError, match=rf"{architecture.name} needs .* least {architecture.smallest}x.* digits have 8x8"
    ):
        architecture.build(Digits(validation=60))


def test_normalise_per_channel() -> None:
    x = torch.rand(2, 3, 4, 4, generator=generator())
    mean, std = [0.1, 0.5, 0.9], [1.0, 0.5, 2.0]
    for channel, value in enumerate(Normalise(mean, std)(x).unbind(1)):
        torch.testing.assert_close(value, (x[:, channel] - mean[channel]) / std[channel])
