"""What every maker of derived points promises."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustray.data.device import DeviceImages
from robustray.derived import point
from robustray.derived.base import Ground, Made, Maker, Parent
from robustray.derived.mixture import Mixture
from robustray.derived.point import Recipe
from robustray.errors import UserError
from robustray.judge import Judge
from robustray.models.small_cnn import SmallCnn
from robustray.testing.made import flags, same, state
from robustray.testing.suite import contract, raises
from robustray.training.checkpoints import weights_hash

JUDGE = Judge.model_validate({
    "data": {"name": "digits", "validation": 300},
    "threat": {"norm": "linf", "eps": 0.05},
    "cheap": {"name": "pgd", "steps": 3},
    "images": {"validation": 100},
})  # fmt: skip


@lru_cache(maxsize=4)
def trained(seed: int) -> nn.Module:
    """A small network for digits after some steps: right about most images, wrong about some."""
    images = DeviceImages(JUDGE.data.load("train"), torch.device("cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SmallCnn(width=4).build(JUDGE.data)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for _ in range(25):
            x, y = images.batch(torch.randint(0, len(images), (64,)))
            optimiser.zero_grad()
            F.cross_entropy(model.train()(x), y).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return model.eval().requires_grad_(False)


def _parents(maker: Maker, *seeds: int) -> list[Parent]:
    models = [copy.deepcopy(trained(seed)) for seed in (seeds or range(maker.least))]
    return [Parent(f"../{at:04d}", model, weights_hash(model.state_dict())) for at, model in enumerate(models)]


@contextmanager
def _ground() -> Iterator[Ground]:
    with tempfile.TemporaryDirectory() as folder:
        yield Ground(JUDGE, torch.device("cpu"), Path(folder), Path(folder) / "kept")


def _made(maker: Maker, parents: list[Parent]) -> Made:
    with _ground() as ground:
        return maker.make(parents, maker.numbers(len(parents))[0], ground)


def _images() -> Tensor:
    return DeviceImages(JUDGE.data.load("validation"), torch.device("cpu")).batch(slice(0, 40))[0]


@contract("derive")
def numbers_are_plain(maker: Maker) -> None:
    """What tells points apart is plain values, different for each point, and survives JSON and the recipe's YAML."""
    numbers = maker.numbers(maker.least)
    texts = [json.dumps(each, sort_keys=True) for each in numbers]
    assert numbers
    assert len(set(texts)) == len(texts)
    for each in numbers:
        recipe = Recipe(maker, each, ["../0000", "../0001"], JUDGE)
        assert Recipe.from_yaml(recipe.to_yaml(), Path()) == recipe


@contract("derive", default=True)
def the_same_point_every_time(maker: Maker) -> None:
    """Made twice, of copies of the same parents, a point has the same bits."""
    first, second = (_made(maker, _parents(maker)) for _ in range(2))
    assert same(state(first.model), state(second.model))


@contract("derive")
def parents_are_left_alone(maker: Maker) -> None:
    """Making a point changes no bit, mode or flag of its parents, and the point is in eval mode and frozen."""
    parents = _parents(maker)
    before = [(state(parent.model), flags(parent.model)) for parent in parents]
    made = _made(maker, parents)
    assert all(
        same(state(parent.model), weights) and flags(parent.model) == kept
        for parent, (weights, kept) in zip(parents, before, strict=True)
    )
    assert not any(module.training for module in made.model.modules())
    assert not any(weight.requires_grad for weight in made.model.parameters())


@contract("derive")
def kept_and_loaded_it_is_the_same(maker: Maker) -> None:
    """A point that was kept and loaded again has the same weights, and gives the same bits."""
    parents = {parent.spec: parent for parent in _parents(maker)}
    recipe = Recipe(maker, maker.numbers(len(parents))[-1], list(parents), JUDGE)
    with _ground() as ground:
        made = point.make(recipe, ground, parents.__getitem__)
        loaded = point.load(ground.folder, parents.__getitem__)
    assert loaded.weights == made.weights == weights_hash(made.model.state_dict())
    assert torch.equal(loaded.model(_images()), made.model(_images()))


@contract("derive")
def parents_are_told_by_their_weights(maker: Maker) -> None:
    """A parent that has other weights than the point was made of is refused where the point needs it, naming both."""
    parents = {parent.spec: parent for parent in _parents(maker)}
    recipe = Recipe(maker, maker.numbers(len(parents))[0], list(parents), JUDGE)
    with _ground() as ground:
        point.make(recipe, ground, parents.__getitem__)
        others = dict(zip(parents, _parents(maker, 7, 8), strict=True))
        with raises(UserError, saying=parents["../0000"].weights[:12]):
            point.load(ground.folder, others.__getitem__)


@contract("derive")
def batch_size_changes_no_logits(maker: Maker) -> None:
    """An image has the same logits alone and beside others, to rounding in float64."""
    model, x = _made(maker, _parents(maker)).model.double(), _images().double()
    apart = torch.cat([model(x[i : i + 1]) for i in range(len(x))])
    assert torch.allclose(model(x), apart, rtol=1e-10, atol=1e-10)


@contract("derive")
def the_gradient_is_that_of_the_whole(maker: Maker) -> None:
    """d logits / d x of a mixture agrees with central differences in float64: attacks see all of it.

    Not where an answer is one-hot, which has no gradient to give: there the parts are attacked.
    """
    made = _made(maker, _parents(maker)).model
    if isinstance(made, Mixture) and not made.differentiable:
        assert len(list(made.parts())) > 2
        return
    model, x = made.double(), _images()[:3].double().clamp(0.1, 0.9)
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    (slope,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    step = 1e-6
    with torch.no_grad():
        rise = (model(x + step * direction)[:, 1].sum() - model(x - step * direction)[:, 1].sum()) / (2 * step)
    assert torch.isclose((slope * direction).sum(), rise, rtol=1e-4, atol=1e-6), (
        float((slope * direction).sum()),
        float(rise),
    )


@contract("derive", where=lambda maker: maker.keeps_classes)
def of_one_model_twice_it_is_that_model(maker: Maker) -> None:
    """Made of one model twice, a point gives that model's classes at every image; a soup is that model, bit for bit."""
    one = _parents(maker, *[0] * maker.least)
    made = _made(maker, one).model
    assert torch.equal(made(_images()).argmax(1), one[0].model(_images()).argmax(1))
    if not maker.mixes:
        assert same(state(made), state(one[0].model))
