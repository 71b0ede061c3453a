"""Every maker of derived points meets every network: made, kept, loaded, and the same answers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from robustray.derived import Maker, Smoothing, Soup, point
from robustray.derived.base import Ground, Parent
from robustray.derived.mixing import Mixing
from robustray.derived.nonlinear import Nonlinear
from robustray.derived.point import Recipe
from robustray.models import Architecture
from robustray.registry import parts
from robustray.testing.derived import JUDGE
from robustray.training.checkpoints import weights_hash

FEW = Mixing(widths=(4, 4, 4), epochs=1, size=1000, targets=1, parts=2, parts_per_descent=1, iterations=1)
MAKERS: dict[str, Maker] = {
    "soup": Soup(points=1, batches=2),
    "smoothing": Smoothing(alpha=(0.7,)),
    "network": Smoothing(network=FEW),
}
"""Nonlinear is built below from numbers: its grid wants parents that hold some images."""


def narrow(cls: type[Architecture]) -> Architecture:
    small = {"width": 1 if "wide" in str(cls.model_fields["name"].default) else 4, "depth": 10}
    fields = {name: value for name, value in small.items() if name in cls.model_fields}
    if "wide" not in str(cls.model_fields["name"].default):
        fields.pop("depth", None)
    return cls(**fields)


NETWORKS = [
    pytest.param(cls, id=name)
    for name, cls in parts("model").items()
    if name not in ("torchvision", "timm") and cls.smallest <= 8  # type: ignore[attr-defined]
]


def twins(cls: type[Architecture]) -> dict[str, Parent]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        models = [narrow(cls).build(JUDGE.data).eval().requires_grad_(False) for _ in range(2)]
    specs = ("../0000", "../0001")
    return {
        spec: Parent(spec, model, weights_hash(model.state_dict())) for spec, model in zip(specs, models, strict=True)
    }


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("cls", NETWORKS)
def test_every_maker_meets_every_network(cls: type[Architecture], maker: str, tmp_path: Path) -> None:
    parents, chosen = twins(cls), MAKERS[maker]
    again = {spec: Parent(spec, copy.deepcopy(each.model), each.weights) for spec, each in parents.items()}
    recipe = Recipe(chosen, chosen.numbers(2)[0], list(parents), JUDGE)
    ground = Ground(JUDGE, torch.device("cpu"), tmp_path, tmp_path / "kept")
    made = point.make(recipe, ground, parents.__getitem__)
    loaded = point.load(tmp_path, again.__getitem__)
    assert loaded.weights == made.weights
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    answers = made.model(x)
    assert answers.shape == (3, 10)
    assert bool(answers.isfinite().all())
    if not cls.randomised:
        assert torch.equal(loaded.model(x), answers)


@pytest.mark.parametrize("cls", NETWORKS)
def test_the_nonlinear_map_meets_every_network(cls: type[Architecture]) -> None:
    models = [parent.model for parent in twins(cls).values()]
    state = {"numbers": torch.tensor([1.0, 2.0, -0.5, 0.7], dtype=torch.float64)}
    mixture = Nonlinear().build(models, {"keep": 0.9}, state)
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    answers = mixture(x)
    (slope,) = torch.autograd.grad(answers.sum(), x)
    assert bool(answers.isfinite().all())
    assert bool(slope.isfinite().all())
