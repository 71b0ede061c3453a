"""Gradients of the loss at the images: how steep, how straight, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import F, Tensor, torch
from robustray.attacks.norms import Norm, length, per_image
from robustray.data.splits import Indices
from robustray.measures import answered, intervals, pictures
from robustray.measures.base import SHARD, Ground, PerImage, Piece, Result
from robustray.measures.metrics import figures
from robustray.registry import Count, register

DUAL: Mapping[Norm, Norm] = {"linf": "l1", "l2": "l2", "l1": "linf"}


@register
class InputGradients(PerImage):
    """Mean over images of  || g ||_q,  g the gradient of the cross-entropy to the image, q the dual of the threat's norm (linf:
    1, l2: 2, l1: infinity): eps times it is the rise of the loss inside the threat, to first order (Simon-Gabriel et al., ICML
    2019, arXiv:1802.01421). Beside it the mean `l2` length, `median` and `largest`;

        zero        share of images whose gradient is exactly 0: an attack by gradients has no way to go
        alignment   mean of  cos(g(x), g(x + n)),  n uniform in the threat (Andriushchenko and Flammarion, NeurIPS 2020,
                    arXiv:2007.02617): near 1 where the loss is nearly linear; it collapses in catastrophic overfitting.
                    0 where one of the two is 0.

    The picture shows images, the first of each class in turn, and below each its gradient. Colours: grey is 0, a channel's
    colour grows with its slope; of images that are not RGB the channels' mean, red up, blue down. Each gradient is divided by
    the 99th percentile of its own absolute values, so that lengths cannot be compared by eye: those stand above. Gradients of
    robust models show what the class is made of (Tsipras et al., ICLR 2019, arXiv:1805.12152).

    Small gradients are no robustness by themselves: a saturated softmax has them too. Passes per image: 4.
    """

    name: Literal["input_gradients"] = "input_gradients"
    pictures: Count = Field(8, ge=0, le=100, description="how many images are shown with their gradients")

    def piece(self, number: int, ground: Ground) -> Piece:
        found = dict(super().piece(number, ground))
        inside = np.arange(len(found["norm"])) + number * SHARD
        found["gradient"] = found["gradient"][np.isin(inside, self.shown(ground))]
        return found

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        here, there = (_gradient(ground, images, y) for images in (x, answered.near(ground, x, rows)))
        return {
            "norm": length(here.double(), DUAL[ground.threat.norm]),
            "l2": length(here.double(), "l2"),
            "zero": (here == 0).flatten(1).all(1).long(),
            "alignment": (_unit(here) * _unit(there)).flatten(1).sum(1),
            "gradient": here,
        }

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        own = dict(columns)
        gradients, shown = own.pop("gradient"), self.shown(ground)
        norm = np.asarray(own["norm"], np.float64)
        low, high = intervals.mean(norm)
        values = {
            "median": float(np.median(norm)), "largest": float(norm.max()), "l2": float(own["l2"].mean(dtype=np.float64)),
            "zero": float(own["zero"].mean()), "alignment": float(own["alignment"].mean(dtype=np.float64)),
        }  # fmt: skip
        drawn = {}
        if len(shown):
            x, y = (part.cpu().numpy() for part in ground.images(ground.split, ground.rows[shown]))
            slopes = gradients[np.searchsorted(np.sort(shown), shown)]  # pieces have them in the order of rows
            titles = [f"class {label}, {figures(length)}" for label, length in zip(y, norm[shown], strict=True)]
            drawn["gradients"] = pictures.grid([pictures.seen(x), pictures.signed(slopes)], titles)
        return Result(float(norm.mean()), low, high, "images, Student's t", values, own, pictures=drawn)

    def shown(self, ground: Ground) -> Indices:
        """Where in the rows the images of the picture are: the first of each class, then the second of each ..."""
        labels = ground.data.load(ground.split).labels[ground.rows]
        turn = np.zeros(len(labels), np.int64)
        for label in np.unique(labels):
            inside = np.flatnonzero(labels == label)
            turn[inside] = np.arange(len(inside))
        return np.lexsort((labels, turn))[: self.pictures]

    def passes(self, ground: Ground) -> float:
        return float(4 * len(ground))


def _gradient(ground: Ground, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        loss = F.cross_entropy(ground.model(x).float(), y, reduction="sum")
        return torch.autograd.grad(loss, x)[0]


def _unit(gradient: Tensor) -> Tensor:
    """Of length 1 in l2; 0 stays 0. Squares of what is small must not underflow."""
    tiny = torch.finfo(gradient.dtype).tiny
    even = gradient / per_image(length(gradient, "linf"), gradient).clamp_min(tiny)
    return even / per_image(length(even, "l2"), even).clamp_min(tiny)
