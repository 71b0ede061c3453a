"""Accuracy on images as they are, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robustray._later import F, Tensor, torch
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.accuracy import answers
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import register


@register
class CleanAccuracy(PerImage):
    """Fraction of images whose label has the largest logit; p is their softmax:

        (1/N) sum_i [argmax_j g_j(x_i) = y_i],   cross_entropy = -(1/N) sum_i ln p_y(x_i)

    An answer with a NaN in it is no class, -1, and wrong. Of train and test it gives the generalisation gap.

    Passes per image: 1.
    """

    name: Literal["clean_accuracy"] = "clean_accuracy"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        if int(y.max()) >= ground.classes:
            raise UserError(
                f"clean_accuracy: the model tells {ground.classes} classes apart, but a label is {int(y.max())}"
            )
        with torch.no_grad():
            logits = ground.model(x).float()
        logs, predicted = F.log_softmax(logits, 1), answers(logits)
        own = logs.gather(1, y[:, None])[:, 0]
        return {"predicted": predicted, "correct": predicted == y, "probability": own.exp(), "loss": -own}

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        correct = columns["correct"]
        low, high = intervals.share(int(correct.sum()), len(correct))
        values = {"cross_entropy": float(np.mean(columns["loss"], dtype=np.float64))}
        return Result(float(correct.mean()), low, high, "images, Wilson", values, dict(columns))

    def passes(self, ground: Ground) -> float:
        return float(len(ground))
