"""What every architecture promises: pixels in, logits out, at any size; normalisation inside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustray.data import Digits
from robustray.models import Architecture
from robustray.models._normalise import Normalise
from robustray.training._precision import Autocast
from tests.robustray.made import generator, same, state, variants


def network(architecture: Architecture, shape: tuple[int, int, int], classes: int, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return architecture.network(*shape, classes)


def images(shape: tuple[int, int, int], n: int = 4) -> Tensor:
    return torch.rand(n, *shape, generator=generator())


@variants("model", "architecture")
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (3, 7, 5), (1, 28, 28)])
def test_any_size(architecture: Architecture, shape: tuple[int, int, int]) -> None:
    logits = network(architecture, shape, 7)(images(shape))
    assert logits.shape == (4, 7)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@variants("model", "architecture")
def test_every_weight_and_pixel_matters(architecture: Architecture) -> None:
    model, x = network(architecture, (3, 8, 8), 5).train(), images((3, 8, 8)).requires_grad_()
    (model(x) * torch.randn(4, 5, generator=generator(1))).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    assert all(w.grad is not None and w.grad.abs().max() > 0 for w in model.parameters())


@variants("model", "architecture")
def test_one_image_at_a_time_in_eval_mode(architecture: Architecture) -> None:
    """An image's logits do not depend on its neighbours or on chance: per-image verdicts mean something."""
    model, x = network(architecture, (1, 8, 8), 10).eval(), images((1, 8, 8))
    with torch.no_grad():
        together = model(x)
        torch.testing.assert_close(torch.cat([model(x[i : i + 1]) for i in range(4)]), together)
        assert torch.equal(model(x), together)


@variants("model", "architecture")
def test_weights_come_from_the_global_seed(architecture: Architecture) -> None:
    first, again, other = (state(network(architecture, (1, 8, 8), 10, seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


@variants("model", "architecture")
def test_weights_travel(architecture: Architecture) -> None:
    a, b = network(architecture, (1, 8, 8), 10, 0).eval(), network(architecture, (1, 8, 8), 10, 1).eval()
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(images((1, 8, 8))), b(images((1, 8, 8))))


@variants("model", "architecture")
def test_bfloat16(architecture: Architecture) -> None:
    model, x = network(architecture, (3, 8, 8), 10).eval(), images((3, 8, 8))
    with torch.no_grad():
        exact, logits = model(x), Autocast(model)(x)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, exact)
    assert (logits - exact).abs().max() <= 0.1 * exact.abs().max() + 0.02


@variants("model", "architecture")
def test_built_for_data(architecture: Architecture) -> None:
    """Normalisation is the first layer, with the training images' own constants, which training cannot move."""
    data = Digits(validation=60)
    model = architecture.build(data).eval()
    assert isinstance(model, nn.Sequential)
    first, rest = model[0], model[1]
    assert isinstance(first, Normalise)
    assert not list(first.parameters())
    x = torch.from_numpy(data.load("train").images).permute(0, 3, 1, 2).float() / 255
    normal = first(x)
    assert normal.mean().abs() < 1e-5
    assert normal.std().item() == pytest.approx(1, abs=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(model(x[:9]), rest((x[:9] - x.mean()) / x.std(correction=0)), rtol=1e-4, atol=1e-4)
    assert model(x[:2]).shape == (2, data.classes)
    assert {"0.mean", "0.std"} <= set(model.state_dict())  # they travel with the weights


def test_normalise_per_channel() -> None:
    x = torch.rand(2, 3, 4, 4, generator=generator())
    mean, std = [0.1, 0.5, 0.9], [1.0, 0.5, 2.0]
    for channel, value in enumerate(Normalise(mean, std)(x).unbind(1)):
        torch.testing.assert_close(value, (x[:, channel] - mean[channel]) / std[channel])
