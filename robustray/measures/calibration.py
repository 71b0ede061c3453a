"""Calibration: whether a model is right as often as it is sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import F, Tensor
from robustray.attacks.base import Attack
from robustray.data.splits import Indices
from robustray.measures import answered, intervals
from robustray.measures.attacked import attacked
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import Count, Registered, register
from robustray.seeding import derive

DRAWS = 200
"""Draws of the answers of a calibrated model, from which follows what error chance alone makes."""


@register
class Calibration(PerImage):
    """Expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017, arXiv:1706.04599)

        sum over bins b of   n_b / N * | accuracy(b) - mean confidence(b) |,     confidence = max_k p_k,

    p the softmax of the logits. `width`: bins of equal width, ((b - 1) / B, b / B]. `mass`: bins between quantiles of the
    confidence, images of one confidence in one bin. Beside it

        maximum_error    the largest of these gaps (of few images in a bin, mostly chance)
        overconfidence   mean confidence minus accuracy
        brier            mean of  sum_k (p_k - [k = y])^2,  in [0, 2] (Brier, 1950)
        nll              mean of  -log p_y,  nats
        by_chance        mean error that a calibrated model with these confidences would show on so many images, from 200 draws
                         of [right] with probability confidence (Broecker and Smith, 2007). The error is biased up: of a
                         calibrated model it is not 0.

    With an attack all of it is of the images under the attack, whatever the answers without it were; values of the images as
    they are begin with `clean_`. An interval would need to take the bias out, and is not given.

    Passes per image: 1; with an attack its own and 1 more.
    """

    name: Literal["calibration"] = "calibration"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "min"
    attack: Annotated[Attack, Registered("attack")] | None = Field(
        None, description="what the images are under; null: nothing"
    )
    bins: Count = Field(15, ge=1, le=1000, description="how many bins the confidences fall into")
    binning: Literal["width", "mass"] = Field(
        "width", description="bins as wide, or with as many images, as each other"
    )

    def check(self, ground: Ground) -> None:
        answered.in_evaluation(self.attack)

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        found = scores(answered.finite_logits(ground, x, rows), y)
        if self.attack is not None:
            x_adv = attacked(self.attack, ground.model, x, y, rows, ground.threat)
            under = scores(answered.finite_logits(ground, x_adv, rows), y)
            found |= {f"{name}_attacked": column for name, column in under.items()}
        return found

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        values: dict[str, float] = {}
        tables, notes = {}, list[str]()
        value = 0.0
        for ending in ("", "_attacked"):
            if f"confidence{ending}" not in columns:
                continue
            sure, right, brier, nll = (columns[f"{name}{ending}"] for name in ("confidence", "right", "brier", "nll"))
            bins = self.bin(sure)
            table = reliability(sure, right, bins)
            error, chance = expected_error(sure, right, bins), by_chance(sure, bins)
            tables[f"reliability{ending}"] = table
            own = {
                "error": error,
                "maximum_error": max(abs(row["accuracy"] - row["confidence"]) for row in table),
                "overconfidence": float(sure.mean() - right.mean()),
                "brier": float(brier.mean()),
                "nll": float(nll.mean()),
                "by_chance": float(chance.mean()),
            }
            clean = self.attack is not None and not ending
            if not clean:
                value = own.pop("error")
                if value <= np.quantile(chance, intervals.LEVEL):
                    notes.append(f"a calibrated model would show as large an error on {len(sure)} images by chance")
            values |= {f"clean_{name}" if clean else name: number for name, number in own.items()}
        return Result(value, values=values, columns=columns, tables=tables, notes=tuple(notes))

    def bin(self, sure: NDArray[np.float64]) -> NDArray[np.int64]:
        """The bin of each image, from 0; the same for the same confidence."""
        if self.binning == "width":
            return np.clip(np.ceil(sure * self.bins).astype(np.int64) - 1, 0, self.bins - 1)
        inner = np.quantile(sure, np.arange(1, self.bins) / self.bins, method="inverted_cdf")
        return np.searchsorted(inner, sure, side="left").astype(np.int64)

    def passes(self, ground: Ground) -> float:
        return answered.passes(len(ground), self.attack)


def expected_error(sure: NDArray[np.float64], right: NDArray[Any], bins: NDArray[np.int64]) -> float:
    """sum_b | sum over images of b of (right - sure) | / N, which is the sum over bins of n_b / N * |accuracy - confidence|."""
    return float(np.abs(np.bincount(bins, right - sure)).sum() / len(sure))


def by_chance(sure: NDArray[np.float64], bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """Errors [DRAWS] of a model that is right with probability `sure`, the same numbers for the same confidences."""
    draw = np.random.default_rng(derive("measure", "calibration"))
    return np.array([expected_error(sure, draw.random(len(sure)) < sure, bins) for _ in range(DRAWS)])


def reliability(sure: NDArray[np.float64], right: NDArray[Any], bins: NDArray[np.int64]) -> list[dict[str, Any]]:
    """A row for each bin that holds an image: its number, images, mean confidence, accuracy with Wilson's interval, and the
    ends of its confidences.
    """
    rows = []
    for number in np.unique(bins):
        inside = bins == number
        count, hits = int(inside.sum()), int(right[inside].sum())
        low, high = intervals.share(hits, count)
        rows.append({
            "bin": int(number), "images": count, "confidence": float(sure[inside].mean()), "accuracy": hits / count,
            "low": low, "high": high, "least": float(sure[inside].min()), "most": float(sure[inside].max()),
        })  # fmt: skip
    return rows


def scores(z: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Per image [B]: confidence, whether it is right, Brier score, -log p_y."""
    p = F.softmax(z, 1)
    truth = F.one_hot(y, z.shape[1]).to(p)
    return {
        "confidence": answered.confidence(z).exp(),
        "right": (z.argmax(1) == y).long(),
        "brier": (p - truth).square().sum(1),
        "nll": -F.log_softmax(z, 1).gather(1, y[:, None])[:, 0],
    }
