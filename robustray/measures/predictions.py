"""Predictions, kept: what fooling rates between any two of them are read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.data.splits import Indices
from robustray.measures import answered, intervals
from robustray.measures.attacked import attacked
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import Registered, register


@register
class Predictions(PerImage):
    """The class that a model gives each image, as it is and under an attack: a row per image of `images.csv`, its row in the
    split, its label, `predicted`, `predicted_attacked`, and with `logits: true` all of `logit_0`, `logit_0_attacked` ...

    Value: the share of images classified correctly both times (`attack: null`: as they are). Beside it `clean_accuracy`, and
    `fooling_rate`, the share of images whose class the attack changes, whatever the label, as Kamath et al. (NeurIPS 2021,
    arXiv:2002.11318) count it. Between two models, or two sets of perturbed images:
    `python -m analysis fooling A B`. An answer with a NaN is -1: never right, and always changed.

    Passes per image: 1; with an attack its own and 1 more.
    """

    name: Literal["predictions"] = "predictions"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    attack: Annotated[Attack, Registered("attack")] | None = Field(
        Pgd(loss="margin", steps=20, keep="misclassified"),
        description="what predictions are kept under, too; null: none",
    )
    logits: bool = Field(False, description="keep every logit of every image as well")

    def check(self, ground: Ground) -> None:
        answered.in_evaluation(self.attack)

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        found = self._answers(answered.logits(ground, x), "")
        if self.attack is not None:
            x_adv = attacked(self.attack, ground.model, x, y, rows, ground.threat)
            found |= self._answers(answered.logits(ground, x_adv), "_attacked")
        return found

    def _answers(self, z: Tensor, ending: str) -> dict[str, Tensor]:
        from robustray.measures.accuracy import answers

        found = {f"predicted{ending}": answers(z)}
        if self.logits:
            found |= {f"logit_{k}{ending}": z[:, k] for k in range(z.shape[1])}
        return found

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        labels = ground.data.load(ground.split).labels[ground.rows]
        stands, values = columns["predicted"] == labels, {}
        if self.attack is not None:
            values["clean_accuracy"] = float(stands.mean())
            plain, under = columns["predicted"], columns["predicted_attacked"]
            values["fooling_rate"] = float(((plain != under) | (plain < 0)).mean())
            stands = stands & (columns["predicted_attacked"] == labels)
        low, high = intervals.share(int(stands.sum()), len(stands))
        return Result(float(np.mean(stands)), low, high, "images, Wilson", values, columns)

    def passes(self, ground: Ground) -> float:
        return answered.passes(len(ground), self.attack)
