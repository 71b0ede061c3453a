"""Robust loss: the mean cross-entropy at the worst images that an attack finds (Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.losses import cross_entropy
from robustray.attacks.threats import Threat
from robustray.data.splits import Indices
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import Count, Options, Real, register
from robustray.seeding import derive


class Highest(NamedTuple):
    """The highest loss that an attack found, per image."""

    loss: Tensor
    """[B]"""
    correct: Tensor
    """[B]; whether the answer there is the label."""


def starts(x: Tensor, rows: Indices, threat: Threat, restart: int) -> Tensor:
    """Random starts [B, C, H, W] inside the threat, each a function of its image's row and the restart alone."""
    found = []
    for image, row in zip(torch.split(x.cpu(), 1), rows.tolist(), strict=True):
        generator = torch.Generator().manual_seed(derive("measure", "start", restart, row))
        found.append(threat.uniform(image, generator))
    return torch.cat(found).to(x.device)


def highest(
    model: nn.Module, x: Tensor, y: Tensor, threat: Threat, begin: Iterable[Tensor], *, steps: int, step: float
) -> Highest:
    """Projected steepest ascent on the cross-entropy; per image the iterate of the highest loss counts, starts and last ones
    too (Stutz et al., ICCV 2021, arXiv:2104.04448). An attack that stops at success, as AutoAttack does, gives too low a loss.

    Args:
        x: [B, C, H, W] in [0, 1]. y: [B]. begin: images where restarts begin, [B, C, H, W] each. step: in units of eps.
    """
    best: Highest | None = None
    for x_adv in begin:
        for number in range(steps + 1):
            last = number == steps
            x_adv = x_adv.detach().requires_grad_(not last)
            with torch.set_grad_enabled(not last):
                logits = model(x_adv)
                loss = cross_entropy(logits, y, "none")
            found = Highest(loss.detach(), logits.detach().argmax(1) == y)
            if best is None:
                best = found
            else:
                higher = (found.loss > best.loss) | found.loss.isnan()
                best = Highest(*(torch.where(higher, new, old) for new, old in zip(found, best, strict=True)))
            if not last:
                (gradient,) = torch.autograd.grad(loss.sum(), x_adv)
                moved = threat.ascend(x_adv.detach(), gradient, step * threat.eps, rule=None, density=0.01)
                x_adv = threat.project(moved, x, "nearest")
    if best is None:
        raise ValueError("an attack needs a start")
    return best


def clean(model: nn.Module, x: Tensor, y: Tensor) -> Highest:
    """The loss at the images as they are. One pass per image."""
    with torch.no_grad():
        logits = model(x)
        return Highest(cross_entropy(logits, y, "none"), logits.argmax(1) == y)


class Ascent(Options):
    """How an attack climbs the cross-entropy, the same for every loss of a measure: steps in proportion to eps."""

    steps: Count = Field(20, ge=0, le=10_000, description="steps of the attack")
    step: Real = Field(0.223, gt=0, le=2, description="length of a step as a fraction of eps; 0.007 of 0.0314 is 0.223")
    restarts: Count = Field(1, ge=1, le=1000, description="random starts, of which an image keeps the highest loss")

    @property
    def passes(self) -> int:
        """Passes per image: a forward at each iterate, a gradient to the input at each but the last."""
        return self.restarts * (2 * self.steps + 1)

    def climb(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        rows: Indices,
        threat: Threat,
        tell: Callable[[float], None] = lambda share: None,
    ) -> Highest:
        """The highest losses of images x [B, C, H, W], labels y [B], rows [B] in their split, from `starts` of their own.

        Args:
            tell: hears the share that is done.
        """

        def begins() -> Iterator[Tensor]:
            for restart in range(self.restarts):
                tell(restart / self.restarts)
                yield starts(x, rows, threat, restart)

        return highest(model, x, y, threat, begins(), steps=self.steps, step=self.step)


@register
class RobustLoss(PerImage):
    """Mean over images of the cross-entropy at the worst image of the threat (Stutz et al., ICCV 2021, arXiv:2104.04448)

        RLoss(w) = mean over i of   max over x' in the threat of x_i of   CE(f(x'; w), y_i),

    from below: projected steepest ascent, of which an image keeps the highest loss of any iterate of any restart. It tells
    apart what robust accuracy does not: how wrong a network is where it is wrong, which is where robust overfitting shows. Of
    uniform answers it is ln K. Beside it the clean loss, and the part of each answer under attack:

        RLoss = (share correct) * (their mean loss) + (share incorrect) * (their mean loss).

    The gap of train and test is told where both are asked for. No 1e-12 inside the logarithm, which caps a published loss at
    27.6.

    Passes per image: 1 + restarts * (2 steps + 1).
    """

    name: Literal["robust_loss"] = "robust_loss"
    better: ClassVar[Direction | None] = "min"
    cheap: ClassVar[Mapping[str, Any]] = {"ascent": {"steps": 3, "restarts": 2}}
    ascent: Ascent = Field(Ascent(restarts=10), description="the attack that climbs the loss")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        plain = clean(ground.model, x, y)
        worst = self.ascent.climb(ground.model, x, y, rows, ground.threat, ground.tell)
        return {"loss": worst.loss, "correct": worst.correct, "clean_loss": plain.loss}

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        loss, correct = np.asarray(columns["loss"], np.float64), columns["correct"].astype(bool)
        clean_loss = np.asarray(columns["clean_loss"], np.float64)
        low, high = intervals.mean(loss)
        values = {
            "clean_loss": float(clean_loss.mean()),
            "correct": float(correct.mean()),
            "loss_of_correct": _mean(loss[correct]),
            "loss_of_incorrect": _mean(loss[~correct]),
        }
        found = {"loss": loss, "correct": correct, "clean_loss": clean_loss}
        return Result(float(loss.mean()), low, high, "images, Student's t", values, found)

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * (1 + self.ascent.passes))


def _mean(losses: NDArray[np.float64]) -> float:
    """0 of none: the part that they have in the whole."""
    return float(losses.mean()) if len(losses) else 0.0
