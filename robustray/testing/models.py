"""What every architecture promises: pixels in, logits out, at any size it takes; normalisation inside; dropout in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from robustray.data.digits import Digits
from robustray.data.images import Images
from robustray.errors import UserError
from robustray.models.base import Architecture
from robustray.models.features import Featured
from robustray.models.heads import OUT, OwnHead
from robustray.models.normalise import Normalise
from robustray.testing.made import generator, same, state
from robustray.testing.options import remade
from robustray.testing.suite import contract as declared
from robustray.testing.suite import raises
from robustray.training.precision import Autocast

Shape = tuple[int, int, int]
SHAPES = {"x".join(map(str, shape)): shape for shape in [(1, 8, 8), (3, 7, 5), (1, 28, 28), (3, 32, 32), (3, 64, 64)]}
"""Channels, height and width."""


F = TypeVar("F", bound=Callable[..., None])


def contract(
    kind: str, *, where: Callable[[Architecture], bool] = lambda architecture: True, **options: Any
) -> Callable[[F], F]:
    """A contract of architectures that can be built here: what they need is installed."""
    return declared(kind, where=lambda architecture: architecture.available and where(architecture), **options)


class Enlarged(Digits):
    """The digits, each pixel as a square of four, or of as many as an architecture needs."""

    factor: int = 2

    def read(self, split: Literal["train", "test"]) -> Images:
        small = super().read(split)
        return Images(small.images.repeat(self.factor, axis=1).repeat(self.factor, axis=2), small.labels)


def enlarged(architecture: Architecture) -> Enlarged:
    """The digits at 16x16 pixels, or larger where an architecture needs that."""
    return Enlarged(validation=60, factor=max(2, -(-architecture.smallest // 8)))


def small(architecture: Architecture, **options: Any) -> Architecture:
    """The same architecture with a quarter of its channels and the fewest layers: its promises then take no time."""
    fields = type(architecture).model_fields
    if "width" in fields:
        options.setdefault("width", fields["width"].default // 4)
    if "depth" in fields:
        options.setdefault("depth", next(bound.ge for bound in fields["depth"].metadata if hasattr(bound, "ge")))
    made = remade(architecture, **options)
    assert isinstance(made, Architecture)
    return made


def drops(architecture: Architecture) -> list[str]:
    """The options that are probabilities of dropout."""
    return [name for name in type(architecture).model_fields if name.endswith("dropout")]


def at_least(architecture: Architecture, shape: Shape) -> Shape:
    """The shape, with what the architecture needs at least."""
    channels, height, width = shape
    return channels, max(height, architecture.smallest), max(width, architecture.smallest)


def network(architecture: Architecture, shape: Shape, classes: int, seed: int = 0) -> nn.Module:
    """A small network of an architecture, its weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return small(architecture).network(*at_least(architecture, shape), classes)


def answers(model: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    """What a model says, with torch's generator as a seed has it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        said: Tensor = model(x)
    return said


def images(architecture: Architecture, shape: Shape, n: int = 4) -> Tensor:
    """Images [n, C, H, W] that an architecture takes."""
    return torch.rand(n, *at_least(architecture, shape), generator=generator())


@contract("model", default=True, shape=SHAPES)
def takes_images_of_any_size(architecture: Architecture, shape: Shape) -> None:
    """From `smallest` pixels on: finite float32 logits [B, classes]."""
    logits = network(architecture, shape, 7)(images(architecture, shape))
    assert logits.shape == (4, 7)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@contract("model")
def every_weight_and_pixel_matters(architecture: Architecture) -> None:
    """Each has a gradient; one near 1e-7 is cancelled by what follows."""
    model = network(architecture, (3, 8, 8), 5).train()
    x = images(architecture, (3, 8, 8), 16).requires_grad_()
    (model(x) * torch.randn(16, 5, generator=generator(1))).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().amax((1, 2, 3)).min() > 0
    largest = {name: w.grad.abs().max() if w.grad is not None else 0 for name, w in model.named_parameters()}
    without = [name for name, gradient in largest.items() if gradient < 1e-5]
    assert not without, f"nothing reaches {', '.join(without)}"


@contract("model", where=lambda architecture: architecture.randomised)
def draws_from_torchs_generator(architecture: Architecture) -> None:
    """A randomised model: in either mode equal seeds give equal logits, and others give others."""
    for training in (True, False):
        model = network(architecture, (1, 8, 8), 10).double().train(training)
        x = images(architecture, (1, 8, 8)).double()
        weights = state(model)
        first = answers(model, x)
        model.load_state_dict(weights)  # batch norm has counted a batch
        assert torch.equal(answers(model, x), first)
        assert not torch.equal(answers(model, x, seed=1), first)


@contract("model", where=lambda architecture: not architecture.randomised)
def one_image_at_a_time_in_eval_mode(architecture: Architecture) -> None:
    """An image's logits do not depend on its neighbours or on chance: per-image verdicts mean something."""
    model, x = network(architecture, (1, 8, 8), 10).eval().double(), images(architecture, (1, 8, 8)).double()
    with torch.no_grad():
        together = model(x)
        torch.testing.assert_close(torch.cat([model(x[i : i + 1]) for i in range(4)]), together)
        assert torch.equal(model(x), together)


@contract("model", default=True, where=lambda architecture: bool(drops(architecture)))
def dropout_is_active_in_training_alone(architecture: Architecture) -> None:
    """Each option that ends in `dropout` changes logits in training mode, and none in eval mode."""
    names, x = drops(architecture), images(architecture, (1, 8, 8))
    shape = at_least(architecture, (1, 8, 8))
    off = small(architecture, **dict.fromkeys(names, 0.0)).network(*shape, 10)
    assert torch.equal(off.train()(x), off(x))
    weights = state(off)  # batch norm has counted two batches
    for name in names:
        on = small(architecture, **(dict.fromkeys(names, 0.0) | {name: 0.5})).network(*shape, 10)
        on.load_state_dict(weights)
        assert not torch.equal(on.train()(x), on(x)), name
        on.load_state_dict(weights)
        assert torch.equal(on.eval()(x), off.eval()(x)), name


@contract("model", default=True)
def weights_come_from_the_global_seed(architecture: Architecture) -> None:
    """Equal seeds give equal weights, others give others."""
    first, again, other = (state(network(architecture, (1, 8, 8), 10, seed)) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


@contract("model", default=True)
def weights_travel(architecture: Architecture) -> None:
    """All that makes the logits is in the state dict."""
    a, b = network(architecture, (1, 8, 8), 10, 0).eval(), network(architecture, (1, 8, 8), 10, 1).eval()
    b.load_state_dict(a.state_dict())
    x = images(architecture, (1, 8, 8))
    assert torch.equal(answers(a, x), answers(b, x))


@contract("model")
def bfloat16(architecture: Architecture) -> None:
    """In bfloat16 logits are others, but near those of float32, or as far as rounding in float32 takes them in proportion."""
    model, x = network(architecture, (3, 8, 8), 10).eval(), images(architecture, (3, 8, 8))
    with torch.no_grad():
        exact, logits = answers(model, x), answers(Autocast(model), x)
        rounding = (exact - answers(model.double(), x.double())).abs().max().item()
    assert logits.dtype == torch.float32
    if architecture.randomised:  # a vote jumps
        return
    assert not torch.equal(logits, exact)
    assert (logits - exact).abs().max() <= max(0.1 * exact.abs().max().item() + 0.02, 2**16 * rounding)


@contract("model", default=True, shape={key: SHAPES[key] for key in ("1x8x8", "3x7x5")})
def two_feature_maps(architecture: Architecture, shape: Shape) -> None:
    """Two maps come beside the logits: found by size, untouched by what follows, with gradients to pixels and weights."""
    model, x = network(architecture, shape, 10), images(architecture, shape).requires_grad_()
    before = state(model)
    featured = Featured(model, x)
    assert same(state(model), before), "looking for them moves nothing"
    assert all(weight.requires_grad for weight in model.parameters())
    for mode in (True, False):
        featured.train(mode)
        torch.manual_seed(1)
        logits = featured(x)
        model.load_state_dict(before)
        torch.manual_seed(1)
        with written_into([model.get_submodule(name) for name in featured.places]) as written:
            again, maps = featured.features(x)
        assert torch.equal(again, logits), "logits are those of the network"
        assert not any(written()), "what follows writes into a map"
        assert list(maps) == ["early", "late"]
        assert max(maps["early"].shape[-2:]) >= max(maps["late"].shape[-2:])
        for map_ in maps.values():
            assert map_.ndim == 4
            assert len(map_) == len(x)
            slopes = torch.autograd.grad(
                map_.sin().sum(), [x, *model.parameters()], allow_unused=True, retain_graph=True
            )
            assert slopes[0] is not None
            assert slopes[0].abs().max() > 0, "no gradient reaches the pixels"
            assert any(slope is not None for slope in slopes[1:]), "no gradient reaches a weight"
        model.load_state_dict(before)
    assert Featured(model, places=featured.places).places == featured.places


@contextmanager
def written_into(modules: list[nn.Module]) -> Iterator[Callable[[], list[bool]]]:
    """Whether what modules gave inside the block has been changed in place since."""
    given = list[tuple[Tensor, int]]()
    hooks = [each.register_forward_hook(lambda *all: given.append((all[2], all[2]._version))) for each in modules]
    try:
        yield lambda: [output._version != version for output, version in given]
    finally:
        for hook in hooks:
            hook.remove()


@contract("model", default=True)
def built_for_data(architecture: Architecture) -> None:
    """Normalisation is the first layer, with the training images' own constants, which training cannot move."""
    data = enlarged(architecture)
    model = small(architecture).build(data).eval()
    assert isinstance(model, nn.Sequential)
    first, rest = model[0], model[1]
    assert isinstance(first, Normalise)
    assert not list(first.parameters())
    x = torch.from_numpy(data.load("train").images).permute(0, 3, 1, 2).float() / 255
    normal = first(x)
    assert normal.mean().abs() < 1e-5
    assert (normal.std() - 1).abs() < 1e-3
    with torch.no_grad():
        theirs = answers(rest, (x[:9] - x.mean()) / x.std(correction=0))
        torch.testing.assert_close(answers(model, x[:9]), theirs, rtol=1e-4, atol=1e-4)
    assert model(x[:2]).shape == (2, data.classes)
    assert {"0.mean", "0.std"} <= set(model.state_dict()), "they travel with the weights"


@contract("model", default=True)
def auxiliary_outputs(architecture: Architecture) -> None:
    """Rows of the last layer that only `OwnHead` shows: the class logits are those of the first rows."""
    torch.manual_seed(0)
    data = enlarged(architecture)
    model = small(architecture).build(data, aux_outputs=4).eval()
    side = 8 * data.factor
    x = torch.rand(6, 1, side, side, generator=generator())
    auxiliary = torch.arange(6) >= 3
    with torch.no_grad():
        logits, outputs = answers(model, x), answers(OwnHead(model, auxiliary), x)
    assert logits.shape == (6, data.classes)
    assert outputs.shape == (6, data.classes + 4)
    torch.testing.assert_close(outputs[:3, : data.classes], logits[:3])
    assert ((outputs == OUT) == (auxiliary[:, None] ^ (torch.arange(data.classes + 4) >= data.classes))).all()


@contract("model", default=True)
def images_that_are_too_small(architecture: Architecture) -> None:
    """Images with fewer than `smallest` pixels to a side are refused; those of 8x8 pixels are not without need."""
    reduced = small(architecture)
    if reduced.smallest <= 8:
        assert reduced.build(Digits(validation=60)).eval()(torch.rand(2, 1, 8, 8)).shape == (2, 10)
        return
    wanted = f"{reduced.name} needs images of at least {reduced.smallest}x{reduced.smallest} pixels"
    with raises(UserError, saying=wanted):
        reduced.build(Digits(validation=60))
