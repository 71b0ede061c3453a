"""Accuracy under any attack, at one radius or over many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from robustray._later import Tensor, torch
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.attacks.threats import LARGEST, Threat
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.attacked import attacked, in_words
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import Real, Registered, register


@register
class RobustAccuracy(PerImage):
    """Share of images that are classified correctly as they are and at the x' of an attack.

    An upper bound of robust accuracy, as every attack's. What is called AutoAttack is `python -m robustray judge`'s.

    Over several radii, an image that is broken at one is broken at every larger one: its x' lies inside the larger ball too. So
    the curve never rises, and is at most the attack's own at each radius. Radius 0 is clean accuracy, without an attack.

    The fooling rate is the share of images whose class the attack changes, right or wrong. A NaN is never right, and always
    changed. Random starts are drawn for an image's row: more restarts are the same ones first, so that with `keep:
    misclassified` accuracy never rises with them. Intervals: Wilson's, over images.

    Passes per image: 1, and at each radius above 0 the attack's own and 1 more.
    """

    name: Literal["robust_accuracy"] = "robust_accuracy"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    attack: Annotated[Attack, Registered("attack")] = Field(
        Pgd(loss="margin", steps=20, keep="misclassified"), description="what looks for images that break"
    )
    eps_range: tuple[Real, ...] = Field(
        (), description="radii in pixels of [0, 1] beside the threat's: accuracy over all of them is a table, curve.csv"
    )

    @field_validator("eps_range")
    @classmethod
    def _radii(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 <= eps < float("inf") for eps in value):
            raise ValueError("radii are at least 0")
        return value

    def check(self, ground: Ground) -> None:
        most, usual = LARGEST[ground.threat.norm]
        if self.eps_range and max(self.eps_range) > most:
            raise UserError(
                f"robust_accuracy.eps_range: {max(self.eps_range):g} is no radius in {ground.threat.norm}: pixels of [0, 1], "
                f"for example {usual}"
            )

    def radii(self, threat: Threat) -> list[float]:
        """All radii, ascending, the threat's own among them."""
        return sorted({*self.eps_range, threat.eps})

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        from robustray.measures.accuracy import answers, changed

        with torch.no_grad():
            plain = answers(ground.model(x))
        stands, fooled = plain == y, torch.zeros_like(y, dtype=torch.bool)
        radii, found = self.radii(ground.threat), list[Tensor]()
        for number, eps in enumerate(radii):
            if eps > 0:
                threat = ground.threat.model_copy(update={"eps": eps})
                x_adv = attacked(self.attack, ground.model, x, y, rows, threat)
                with torch.no_grad():
                    under = answers(ground.model(x_adv))
                stands = stands & (under == y)
                if eps == ground.threat.eps:
                    fooled = changed(plain, under)
            elif eps == ground.threat.eps:
                fooled = plain < 0
            found.append(stands)
            ground.tell((number + 1) / len(radii))
        return {"clean": plain == y, "stands": torch.stack(found, 1), "fooled": fooled}

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        radii, stands, clean = self.radii(ground.threat), columns["stands"], columns["clean"]
        here = stands[:, radii.index(ground.threat.eps)]
        curve = []
        for eps, count in zip(radii, stands.sum(0).tolist(), strict=True):
            low, high = intervals.share(count, len(stands))
            curve.append({"eps": eps, "robust_accuracy": count / len(stands), "low": low, "high": high})
        first = np.where(stands.all(1), np.inf, np.array(radii)[stands.argmin(1)])
        kept = {"clean": clean, "robust": here, "fooled": columns["fooled"]}
        if self.eps_range:
            kept["broken_at"] = np.where(clean, first, 0.0)
        low, high = intervals.share(int(here.sum()), len(here))
        values = {"clean_accuracy": float(clean.mean()), "fooling_rate": float(columns["fooled"].mean())}
        tables = {"curve": curve} if self.eps_range else {}
        notes = (f"under {in_words(self.attack)}",)
        return Result(float(here.mean()), low, high, "images, Wilson", values, kept, tables, notes=notes)

    def passes(self, ground: Ground) -> float:
        attacks = sum(eps > 0 for eps in self.radii(ground.threat))
        return float(len(ground) * (1 + attacks * (self.attack.passes + 1)))
