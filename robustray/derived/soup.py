"""Weights between those of trained models: a point for the price of new batch-norm statistics."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from robustray._later import Tensor, nn
from robustray.derived.base import Ground, Made, Maker, Numbers, Parent
from robustray.errors import UserError
from robustray.registry import Count, Real, register

_BARRIER = 0.02
"""Nats of loss: new statistics of batch norm alone move a loss by less."""


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
        from robustray.data.device import DeviceImages
        from robustray.derived.interpolation import interpolated, learnt_alike, loss, refresh, seen, shape
        from robustray.numerics import numerics

        first = parents[0].model
        states = [parent.model.state_dict() for parent in parents]
        for parent, state in zip(parents[1:], states[1:], strict=True):
            apart = next(
                (name for name in states[0].keys() | state.keys() if shape(states[0], name) != shape(state, name)),
                None,
            )
            if apart is not None:
                raise UserError(
                    f"derive: a soup needs parents of one architecture; {parents[0].spec} and {parent.spec} differ in {apart}"
                )
        model = copy.deepcopy(first)
        mixed = interpolated(states, numbers["weights"])
        same = next((state for state in states if learnt_alike(model, mixed, state)), None)
        model.load_state_dict(mixed if same is None else same)
        images = DeviceImages(ground.judge.data.load("train"), ground.device)
        with numerics():
            passes = refresh(model, images, self.batches) if same is None else 0.0
            losses = [loss(network, images) for network in (*(parent.model for parent in parents), model)]
        barrier = losses[-1] - max(losses[:-1])
        said = {"loss": losses[-1], "loss_of_parents": losses[:-1], "barrier": barrier}
        return Made(model.eval().requires_grad_(False), model.state_dict(), said, passes + len(losses) * seen(images))

    def found(self, said: Mapping[str, Any]) -> str:
        barrier = float(said["barrier"])
        lie = "different basins" if barrier > _BARRIER else "one basin"
        return f"parents lie in {lie}: loss {said['loss']:.2f}, {abs(barrier):.2f} {'above' if barrier > 0 else 'below'} theirs"

    def build(self, parents: Sequence[nn.Module], numbers: Numbers, state: Mapping[str, Tensor]) -> nn.Module:
        model = copy.deepcopy(parents[0])
        model.load_state_dict(state)
        return model
