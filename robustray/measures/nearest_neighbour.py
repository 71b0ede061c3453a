"""The classifier that robust and accurate classifiers are shown to exist by: the nearest training image decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from robustray._later import Tensor, torch
from robustray.data.splits import Indices
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result, SplitName
from robustray.measures.distances import ROUNDING, Allowed, nearest
from robustray.measures.metrics import Direction
from robustray.registry import register


@register
class NearestNeighbour(PerImage):
    """Accuracy of the nearest training image, in the threat's norm, that is certain within eps:

        f_j(x) = || x - X_j ||,   X_j the training images of class j,   prediction argmin_j f_j.

    Each f_j is 1-Lipschitz, so an image whose own class is at r and the next at w, w > r, keeps its class at every ||d|| <
    (w - r) / 2; of an image of X itself in data that is 2 rho apart, at every ||d|| < rho (Yang et al., NeurIPS 2020,
    arXiv:2003.02460, section 3, whose f_j are divided by rho). The value is the fraction of images whose radius is above eps:
    no attack within the threat can change them. It is what robustness without learning comes to on these images. Two
    classes equally near count as wrong.

    No pass through the model. On train every image is its own neighbour.
    """

    name: Literal["nearest_neighbour"] = "nearest_neighbour"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    needs_model: ClassVar[bool] = False
    reads: ClassVar[tuple[SplitName, ...]] = ("train",)
    at_once: ClassVar[int] = 1000

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        own, train = ground.data.load(ground.split).take(rows), ground.data.load("train")
        allowed = [Allowed(own.labels, train.labels, same=same) for same in (True, False)]
        found = nearest(own, train, allowed, ground.threat.norm, ground.device)
        right, wrong = found.pixels(ground.threat.norm)
        correct = found.distance[0] < found.distance[1]
        there = np.where(found.row[1] >= 0, train.labels[found.row[1]], own.labels)
        columns = {
            "correct": correct, "predicted": np.where(correct, own.labels, there), "right": right, "wrong": wrong,
            "radius": np.where(correct, (wrong - right) / 2, 0.0),
        }  # fmt: skip
        return {name: torch.from_numpy(column) for name, column in columns.items()}

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        correct, radius = columns["correct"], columns["radius"]
        certain = correct & (radius > ground.threat.eps + ROUNDING)
        low, high = intervals.share(int(certain.sum()), len(certain))
        there = radius[correct & np.isfinite(radius)]
        values = {"clean_accuracy": float(correct.mean())}
        if len(there):
            values["median_radius_where_correct"] = float(np.median(there))
        return Result(float(certain.mean()), low, high, "images, Wilson", values, {**columns, "certain": certain})

    def passes(self, ground: Ground) -> float:
        return 0.0
