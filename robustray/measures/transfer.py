"""Images made on another model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, torch
from robustray.attacks.base import Attack
from robustray.attacks.pgd import Pgd
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import intervals
from robustray.measures.attacked import attacked, in_words
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.plain import line
from robustray.registry import Registered, register


@register
class Transfer(PerImage):
    """Share of images that are classified correctly as they are and at the x' that an attack made on another model.

    So the attack knows nothing of this one (Papernot et al., arXiv:1605.07277).

    A model whose accuracy under `transfer` is lower than under the same attack on itself hides its gradients: nobody can know
    it better than itself (Athalye et al., ICML 2018, arXiv:1802.00420). `transfer_rate` is the share broken here of the images
    that both models classify correctly and whose x' breaks the other; NaN where there are none. Interval: Wilson's, over
    images.

    Passes per image: 2 through this model; through the other the attack's and 2 more.
    """

    name: Literal["transfer"] = "transfer"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    source: str = Field(description="the other model: a trial's folder, a checkpoint, zoo:NAME or file.py:function")
    attack: Annotated[Attack, Registered("attack")] = Field(
        Pgd(loss="margin", steps=20, keep="misclassified"), description="what attacks the other model"
    )

    def check(self, ground: Ground) -> None:
        other, (x, _) = ground.other(self.source)[0], ground.images(ground.split, ground.rows[:2])
        try:
            with torch.no_grad():
                classes = other(x).shape[1]
        except Exception as error:  # a foreign network on images of another size
            raise UserError(
                f"transfer.source: {self.source} cannot be asked about these images ({line(error)})"
            ) from None
        if classes != ground.classes:
            raise UserError(f"transfer.source: {self.source} tells {classes} classes apart, the model {ground.classes}")

    def depends(self, ground: Ground) -> Mapping[str, Any]:
        return {"source": ground.other(self.source)[1]}

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        from robustray.measures.accuracy import answers, at_rest, changed

        other = ground.other(self.source)[0]
        x_adv = attacked(self.attack, other, x, y, rows, ground.threat)
        with torch.no_grad(), at_rest(other, ground.device):
            theirs, theirs_under = answers(other(x)), answers(other(x_adv))
        with torch.no_grad():
            plain, under = answers(ground.model(x)), answers(ground.model(x_adv))
        return {
            "clean": plain == y, "robust": (plain == y) & (under == y), "fooled": changed(plain, under),
            "source_broken": (theirs == y) & (theirs_under != y),
        }  # fmt: skip

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        robust, clean = columns["robust"], columns["clean"]
        low, high = intervals.share(int(robust.sum()), len(robust))
        asked = clean & columns["source_broken"]
        values = {
            "clean_accuracy": float(clean.mean()),
            "fooling_rate": float(columns["fooled"].mean()),
            "transfer_rate": float((~robust[asked]).mean()) if asked.any() else float(np.nan),
        }
        notes = (f"made on {self.source} under {in_words(self.attack)}",)
        return Result(float(robust.mean()), low, high, "images, Wilson", values, dict(columns), notes=notes)

    def passes(self, ground: Ground) -> float:
        return float(2 * len(ground))
