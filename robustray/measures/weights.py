"""A copy of a model whose weights are moved, and the move that raises its loss most."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from robustray import weight_space
from robustray._later import Tensor, nn, torch
from robustray.attacks.losses import cross_entropy
from robustray.attacks.threats import Threat
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.plain import line
from robustray.seeding import derive


def copied(model: nn.Module) -> nn.Module:
    """A frozen copy, whose weights may be changed.

    Raises:
        UserError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model).requires_grad_(False)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"this model cannot be copied, which moving its weights takes: {line(error)}") from None


class Movable:
    """A copy of a model, the tensors that are moved, and where they were.

    Attributes:
        model: the copy, frozen. weights: `weight_space.tensors` of it. home: their values.
    """

    def __init__(self, model: nn.Module) -> None:
        """Raises UserError: the model cannot be copied, or has no weights."""
        self.model = copied(model)
        self.weights = weight_space.tensors(self.model)
        if not self.weights:
            raise UserError("this model has no weights that can be moved: it registers no parameters")
        self.settle()

    def settle(self) -> None:
        """Makes home where the weights are now."""
        self.home = [weight.detach().clone() for weight in self.weights]

    def move(self, nu: Sequence[Tensor], scale: float = 1.0) -> nn.Module:
        """The copy with weights home + scale * nu."""
        weight_space.place(self.weights, self.home, nu, scale)
        return self.model


def starts(x: Tensor, rows: Indices, threat: Threat, draw: int) -> Tensor:
    """Random starts [B, C, H, W] inside the threat, each a function of its image's row and of the draw alone."""
    found = []
    for image, row in zip(torch.split(x.cpu(), 1), rows.tolist(), strict=True):
        generator = torch.Generator().manual_seed(derive("measure", "start", draw, row))
        found.append(threat.uniform(image, generator))
    return torch.cat(found).to(x.device)


@dataclass
class Batch:
    """Images x [B, C, H, W] with labels y [B], and x_adv, where they are now."""

    x: Tensor
    y: Tensor
    x_adv: Tensor


class Place(NamedTuple):
    """A point of the joint ascent."""

    loss: float
    """Mean cross-entropy of all images there."""
    nu: list[Tensor]


def joint_ascent(
    at: Movable,
    batches: Sequence[Batch],
    threat: Threat | None,
    nu: Sequence[Tensor],
    *,
    xi: float,
    steps: int,
    weight_step: float,
    step: float,
) -> Iterator[Place]:
    """Ascent on the mean cross-entropy in weights and images at once (Stutz et al., ICCV 2021, arXiv:2104.04448, worst case).

    From one forward at w + nu and x':  nu^(l) += weight_step ||w^(l)|| g^(l) / ||g^(l)||, then onto ||nu^(l)|| <= xi ||w^(l)||;
    x' += steepest ascent of length step * eps, then onto ball and box. One nu for all images: its gradient is that of the mean
    over all of them, so that batches change nothing but rounding.

    Args:
        batches: where images begin; left where they end. threat: None: images stay.

    Yields:
        The loss and nu at each of steps + 1 points, before the step from there; batches hold x' of the same point.
    """
    images, here = sum(len(batch.x) for batch in batches), list(nu)
    for number in range(steps + 1):
        last, total = number == steps, 0.0
        at.move(here)
        gradients: list[Tensor | None] = [None] * len(here)
        slopes = []
        for batch in batches:
            loss, found, slope = _gradients(at, batch, last, threat is not None)
            total += loss / images
            slopes.append(slope)
            gradients = [b if a is None else a if b is None else a + b for a, b in zip(gradients, found, strict=True)]
        yield Place(total, here)
        if last:
            return
        here = weight_space.projected(weight_space.ascended(here, gradients, at.home, weight_step), at.home, xi)
        for batch, slope in zip(batches, slopes, strict=True):
            if threat is not None and slope is not None:
                moved = threat.ascend(batch.x_adv, slope, step * threat.eps, rule=None, density=0.01)
                batch.x_adv = threat.project(moved, batch.x, "nearest")


def _gradients(at: Movable, batch: Batch, last: bool, images: bool) -> tuple[float, list[Tensor | None], Tensor | None]:
    """The summed loss of a batch, its gradients to the weights and to the images; none of them at the last point."""
    nothing: list[Tensor | None] = [None] * len(at.weights)
    if last:
        with torch.no_grad():
            loss = cross_entropy(at.model(batch.x_adv), batch.y, "none").double().sum()
        return float(loss), nothing, None
    x_adv = batch.x_adv.detach().requires_grad_(images)
    for weight in at.weights:
        weight.requires_grad_()
    try:
        loss = cross_entropy(at.model(x_adv), batch.y, "none").sum()
        asked = [*at.weights, x_adv] if images else at.weights
        found: list[Tensor | None] = list(torch.autograd.grad(loss, asked, allow_unused=True))
    finally:
        for weight in at.weights:
            weight.requires_grad_(False)
    slope = found.pop() if images else None
    return float(loss.detach()), found, slope


def worst_move(points: Iterator[Place]) -> list[Tensor]:
    """nu of the point with the highest loss."""
    best = next(points)
    for point in points:
        if point.loss > best.loss:
            best = point
    return best.nu
