"""Weights between those of trained models: a point for the price of new batch-norm statistics."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from robustray._later import F, Tensor, nn, torch
from robustray.data.device import DeviceImages
from robustray.derived.base import Ground, Made, Maker, Numbers, Parent
from robustray.errors import UserError
from robustray.numerics import numerics
from robustray.registry import Count, Real, register

_BATCH = 256


@register
class Soup(Maker):
    """Weight interpolation: theta = sum of w_i theta_i over parents of one architecture (model soups, arXiv:2203.05482;
    between specialists for robustness, Croce et al., arXiv:2302.10164). Statistics of batch norm are taken anew on training
    images, since those of the parents belong to other weights.

    Two parents lie in different basins where the way between them passes over a barrier: the clean training loss at a point of
    the way above both ends (Frankle et al., arXiv:1912.05671). It is measured and said, and the point is kept: the judge
    decides what it is worth.
    """

    name: Literal["soup"] = "soup"
    most: ClassVar[int | None] = None
    alike: ClassVar[bool] = True

    points: Count = Field(
        5,
        ge=1,
        le=1000,
        description="how many points strictly between two parents, at equal distances; of more parents: one",
    )
    weights: tuple[tuple[Real, ...], ...] | None = Field(
        None,
        description="the parents' shares of each point, summing to one; outside 0 to 1 they extrapolate; null: as points says",
    )
    batches: Count = Field(
        40, ge=1, description="batches of 256 training images that batch norm's statistics are taken from"
    )

    def numbers(self, parents: int) -> list[dict[str, Any]]:
        if self.weights is not None:
            for each in self.weights:
                if len(each) != parents or abs(sum(each) - 1) > 1e-6:
                    raise UserError(
                        f"derive: soup.weights has {list(each)}, but {parents} parents need {parents} shares with sum 1"
                    )
            return [{"weights": list(each)} for each in self.weights]
        if parents > 2:
            return [{"weights": [1 / parents] * parents}]
        steps = [step / (self.points + 1) for step in range(1, self.points + 1)]
        return [{"weights": [1 - at, at]} for at in steps]

    def make(self, parents: Sequence[Parent], numbers: Numbers, ground: Ground) -> Made:
        first = parents[0].model
        states = [parent.model.state_dict() for parent in parents]
        for parent, state in zip(parents[1:], states[1:], strict=True):
            apart = next(
                (name for name in states[0].keys() | state.keys() if _shape(states[0], name) != _shape(state, name)),
                None,
            )
            if apart is not None:
                raise UserError(
                    f"derive: a soup needs parents of one architecture; {parents[0].spec} and {parent.spec} differ in {apart}"
                )
        model = copy.deepcopy(first)
        mixed = interpolated(states, numbers["weights"])
        same = next((state for state in states if _learnt_alike(model, mixed, state)), None)
        model.load_state_dict(mixed if same is None else same)
        images = DeviceImages(ground.judge.data.load("train"), ground.device)
        with numerics():
            passes = refresh(model, images, self.batches) if same is None else 0.0
            losses = [_loss(network, images) for network in (*(parent.model for parent in parents), model)]
        barrier = losses[-1] - max(losses[:-1])
        said = {"loss": losses[-1], "loss_of_parents": losses[:-1], "barrier": barrier}
        return Made(model.eval().requires_grad_(False), model.state_dict(), said, passes + len(losses) * _seen(images))

    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, Tensor]) -> nn.Module:
        model = copy.deepcopy(parents[0])
        model.load_state_dict(state)
        return model


def interpolated(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """sum of w_i theta_i, in float64, by name; whole numbers (counters) are the first one's.

    A share of one gives that state bit for bit, and so does a soup of equal ones: x + w (y - x) is exact there.
    """
    mixed = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            mixed[name] = first.clone()
            continue
        base = first.double()
        total = base.clone()
        for weight, state in zip(weights[1:], states[1:], strict=True):
            total += weight * (state[name].double() - base)
        mixed[name] = total.to(first.dtype)
    return mixed


@torch.no_grad()
def refresh(model: nn.Module, images: DeviceImages, batches: int) -> float:
    """Takes batch norm's running statistics anew: the plain mean over so many batches of training images, as they are.

    Returns:
        Forward passes; none where the network has no batch norm.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return 0.0
    kept = [norm.momentum for norm in norms]
    model.eval()  # dropout and the like stay off
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the cumulative mean
        norm.train()
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    seen = 0
    for begin in range(0, min(len(rows), batches * _BATCH), _BATCH):
        taken = rows[begin : begin + _BATCH]
        if len(taken) > 1 or begin == 0:
            model(images.batch(taken)[0])
            seen += len(taken)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()
    return float(seen)


def _learnt_alike(model: nn.Module, mixed: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Whether a mixture is one of its parents again: then the parent's statistics are its own."""
    return all(torch.equal(mixed[name], state[name]) for name, _ in model.named_parameters())


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None


def _seen(images: DeviceImages) -> int:
    return min(len(images), 2000)


@torch.no_grad()
def _loss(model: nn.Module, images: DeviceImages) -> float:
    """Mean cross-entropy on the first 2,000 training images."""
    model.eval()
    total, count = 0.0, _seen(images)
    for begin in range(0, count, _BATCH):
        x, y = images.batch(slice(begin, min(begin + _BATCH, count)))
        total += float(F.cross_entropy(model(x), y, reduction="sum"))
    return total / count
