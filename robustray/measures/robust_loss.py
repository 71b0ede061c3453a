"""Robust loss: the mean cross-entropy at the worst images that an attack finds (Stutz et al., ICCV 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, nn, torch
from robustray.attacks.losses import cross_entropy
from robustray.attacks.pgd import Pgd, StepSize
from robustray.attacks.threats import Threat
from robustray.data.splits import Indices
from robustray.errors import NotFinite
from robustray.measures import intervals
from robustray.measures.accuracy import answers
from robustray.measures.attacked import attacked
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import Count, Options, Real, register


class Losses(NamedTuple):
    """Of images [B]."""

    loss: Tensor
    """Cross-entropy [B]."""
    correct: Tensor
    """[B]; whether the answer is the label."""


def losses_at(model: nn.Module, x: Tensor, y: Tensor) -> Losses:
    """Of images x [B, C, H, W] with labels y [B], as they are. One pass per image."""
    with torch.no_grad():
        logits = model(x)
        return Losses(cross_entropy(logits, y, "none"), answers(logits) == y)


class Climb(Options):
    """PGD on the cross-entropy, of which an image keeps the x' with the highest loss: of all steps, starts and last ones too,
    of all restarts, and the image itself, which lies in the threat too: no loss is below the clean one. An attack that stops at
    success, as AutoAttack's do, gives too low a loss.
    """

    steps: Count = Field(20, ge=0, le=10_000, description="steps of the attack")
    step: Real = Field(0.223, gt=0, le=2, description="length of a step as a fraction of eps; 0.007 of 0.0314 is 0.223")
    restarts: Count = Field(1, ge=1, le=1000, description="random starts, of which an image keeps the highest loss")

    @property
    def attack(self) -> Pgd:
        """The attack itself."""
        step_size = StepSize(of_eps=self.step)
        return Pgd(steps=self.steps, step_size=step_size, restarts=self.restarts, loss="ce", keep="worst")

    @property
    def passes(self) -> int:
        """Per image: the attack's, and a forward at what it found and at the image itself."""
        return self.attack.passes + 2

    def losses(self, model: nn.Module, x: Tensor, y: Tensor, rows: Indices, threat: Threat) -> tuple[Losses, Losses]:
        """(those of images x [B, C, H, W] as they are, the highest that the attack finds), labels y [B], rows [B] in their
        split, for which starts are drawn. The highest are NaN where the model is not finite.
        """
        plain = losses_at(model, x, y)
        try:
            found = losses_at(model, attacked(self.attack, model, x, y, rows, threat), y)
        except NotFinite:
            nothing = torch.full_like(plain.loss, torch.nan), torch.zeros_like(plain.correct)
            return plain, Losses(*nothing)
        less = found.loss < plain.loss
        return plain, Losses(*(torch.where(less, a, b) for a, b in zip(plain, found, strict=True)))


class ManyStarts(Climb):
    """The same from ten random starts, as the paper's robust loss is measured."""

    restarts: Count = Field(10, ge=1, le=1000, description=Climb.model_fields["restarts"].description)


@register
class RobustLoss(PerImage):
    """Mean over images of the cross-entropy at the worst image of the threat (Stutz et al., ICCV 2021, arXiv:2104.04448)

        RLoss(w) = mean over i of   max over x' in the threat of x_i of   CE(f(x'; w), y_i),

    from below: projected steepest ascent, of which an image keeps the highest loss of any iterate of any restart, or its own
    where that is higher: the image lies in the threat, and robust loss is never below the clean loss. It tells apart what
    robust accuracy does not: how wrong a network is where it is wrong, which is where robust overfitting shows. Of uniform
    answers it is ln K. Beside it the clean loss, and the part of each answer under attack:

        RLoss = (share correct) * (their mean loss) + (share incorrect) * (their mean loss).

    The gap of train and test is told where both are asked for. No 1e-12 inside the logarithm, which caps a published loss at
    27.6.

    Passes per image: 2 + restarts * (2 steps + 1).
    """

    name: Literal["robust_loss"] = "robust_loss"
    better: ClassVar[Direction | None] = "min"
    cheap: ClassVar[Mapping[str, Any]] = {"attack": {"steps": 3, "restarts": 2}}
    attack: ManyStarts = Field(ManyStarts(), description="PGD that climbs the loss")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        plain, worst = self.attack.losses(ground.model, x, y, rows, ground.threat)
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
        return float(len(ground) * self.attack.passes)


def _mean(losses: NDArray[np.float64]) -> float:
    """0 of none: the part that they have in the whole."""
    return float(losses.mean()) if len(losses) else 0.0
