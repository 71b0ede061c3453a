"""Robustness with a way out: a model that may refuse an answer it is not sure of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import F, Tensor, torch
from robustray.attacks.base import Attack, Outputs
from robustray.attacks.pgd import Pgd
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures import answered, intervals
from robustray.measures.attacked import attacked
from robustray.measures.base import SHARD, Ground, PerImage, Piece, Result, SplitName
from robustray.measures.metrics import Direction
from robustray.registry import Real, Registered, register

ROWS = 1000
"""The most points of a curve that are written."""


@register
class Detection(PerImage):
    """Confidence-thresholded robust test error (Stutz et al., ICML 2020, arXiv:1910.06259, section 4): answers with a
    confidence c = max_k p_k below a threshold t are refused. With x' the image under the attack, f the class that is predicted,

                sum over images of  max( [f(x) != y][c(x) >= t],  [f(x') != y][c(x') >= t] )
        error = -----------------------------------------------------------------------------
                sum over images of  max( [c(x) >= t],  [c(x') >= t] )

    t is the highest confidence that keeps at least the share `keep` of the validation images that are classified correctly.
    `clean_error` is the same without x'; `error_without` and `clean_error_without` are those for t = 0. `kept` and
    `kept_attacked` are the shares of correctly classified clean images, and of images that the attack turned from right to
    wrong, that pass the threshold: true and false positives of telling one from the other, over the two sets. The curve
    of the two over all thresholds is the table `roc`, `auc` the area under it: the chance that a clean image is surer than a
    fooled one, ties half (0 where nothing is fooled: there is nothing to tell apart, as a note says). The published code
    divides false positives by all images, has misclassified clean images among the positives and rounds 1 - keep to two digits.

    An attack without a loss of its own climbs max over k != y of log p_k: confidence in a wrong class is what passes the
    threshold, and an attack that only looks for the border is seen by its low confidence. Softmax in float64, confidences told
    apart where p is 1 to rounding. Of a model that trained on the validation images, the threshold is too high.

    Passes: 2 and the attack's per image, 1 per validation image.
    """

    name: Literal["detection"] = "detection"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "min"
    reads: ClassVar[tuple[SplitName, ...]] = ("validation",)
    attack: Annotated[Attack, Registered("attack")] = Field(
        Pgd(steps=40, keep="misclassified"),
        description="climbs the confidence in a wrong class, unless it has a loss of its own",
    )
    keep: Real = Field(
        0.99, gt=0, le=1, description="share of correctly classified validation images that the threshold keeps"
    )

    def check(self, ground: Ground) -> None:
        answered.in_evaluation(self.attack)

    def pieces(self, ground: Ground) -> int:
        return ground.shards() + math.ceil(len(ground.data.load("validation")) / SHARD)

    def piece(self, number: int, ground: Ground) -> Piece:
        there = number - ground.shards()
        if there < 0:
            return super().piece(number, ground)
        rows = np.arange(len(ground.data.load("validation")))[there * SHARD : (there + 1) * SHARD]
        x, y = ground.images("validation", rows)
        z = answered.finite_logits(ground, x, rows)
        return {"validation": answered.confidence(z)[z.argmax(1) == y].cpu().numpy()}

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        def climbed(outputs: Outputs, x_adv: Tensor) -> Tensor:
            others = F.log_softmax(outputs.logits, 1).scatter(1, y[:, None], -torch.inf)
            return others.amax(1)

        x_adv = attacked(self.attack, ground.model, x, y, rows, ground.threat, climbed)
        found: dict[str, Tensor] = {}
        for ending, images in (("", x), ("_attacked", x_adv)):
            z = answered.finite_logits(ground, images, rows)
            found |= {f"log_confidence{ending}": answered.confidence(z), f"predicted{ending}": z.argmax(1)}
        return found

    def result(self, pieces: Sequence[Piece], ground: Ground) -> Result:
        shards = ground.shards()
        columns = {name: np.concatenate([piece[name] for piece in pieces[:shards]]) for name in pieces[0]}
        columns["validation"] = np.concatenate([piece["validation"] for piece in pieces[shards:]])
        return self.summary(columns, ground)

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        own = dict(columns)
        at = threshold(own.pop("validation"), self.keep)
        labels = ground.data.load(ground.split).labels[ground.rows]
        sure, sure_attacked = own["log_confidence"], own["log_confidence_attacked"]
        wrong, wrong_attacked = own["predicted"] != labels, own["predicted_attacked"] != labels
        clean, fooled = sure[~wrong], sure_attacked[~wrong & wrong_attacked]
        errors = np.stack([wrong, wrong_attacked])
        failed, of = passed(errors, np.stack([sure, sure_attacked]), at)
        low, high = intervals.share(failed, of)
        values = {
            "threshold": float(np.exp(at)),
            "clean_error": _share(*passed(errors[:1], sure[None], at)),
            "error_without": float(errors.any(0).mean()),
            "clean_error_without": float(wrong.mean()),
            "kept": float((clean >= at).mean()) if len(clean) else 0.0,
            "kept_attacked": float((fooled >= at).mean()) if len(fooled) else 0.0,
            "auc": area(clean, fooled),
        }
        notes = [] if len(fooled) else ["the attack fooled the model on no image: auc says nothing"]
        if ground.split == "validation":
            notes.append("the threshold was chosen on the images that it is measured on; --split test has others")
        tables = {"roc": curve(clean, fooled)}
        return Result(
            _share(failed, of), low, high, "images that pass, Wilson", values, own, tables, notes=tuple(notes)
        )

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * (self.attack.passes + 2) + len(ground.data.load("validation")))


def threshold(clean: NDArray[np.float64], keep: float) -> float:
    """The highest of the confidences [N], of correctly classified images, that at least `keep` of them reach.

    Raises:
        UserError: there are none.
    """
    if not len(clean):
        raise UserError("detection: the model is right about no validation image, so that no threshold can be chosen")
    dropped = math.floor(len(clean) * (1 - keep) + 1e-9)  # 100 * (1 - 0.99) is 1 to rounding
    return float(np.sort(clean)[min(dropped, len(clean) - 1)])


def passed(errors: NDArray[np.bool_], sure: NDArray[np.float64], at: float) -> tuple[int, int]:
    """(images with an error that passes, images with an answer that passes), over the forms [F, N] of each image."""
    passes = sure >= at
    return int((errors & passes).any(0).sum()), int(passes.any(0).sum())


def _share(count: int, of: int) -> float:
    return count / of if of else 0.0


def area(clean: NDArray[np.float64], fooled: NDArray[np.float64]) -> float:
    """P(clean > fooled) + P(clean = fooled) / 2 over pairs (Mann and Whitney, 1947); 0 of no pairs."""
    if not len(clean) or not len(fooled):
        return 0.0
    from scipy import stats  # a second, which options and help do not wait for

    ranks = stats.rankdata(np.concatenate([clean, fooled]))[: len(clean)]
    return float((ranks.sum() - len(clean) * (len(clean) + 1) / 2) / (len(clean) * len(fooled)))


def curve(clean: NDArray[np.float64], fooled: NDArray[np.float64]) -> list[dict[str, float]]:
    """Shares that pass each `threshold` (a probability), the highest first: `kept`, `kept_attacked`; ROWS at most."""
    steps = np.unique(np.concatenate([clean, fooled]))[::-1]
    if len(steps) > ROWS:
        steps = steps[np.unique(np.linspace(0, len(steps) - 1, ROWS).round().astype(np.int64))]
    kept = [1 - np.searchsorted(np.sort(part), steps) / max(len(part), 1) for part in (clean, fooled)]
    return [
        {"threshold": float(np.exp(step)), "kept": float(a), "kept_attacked": float(b) if len(fooled) else 0.0}
        for step, a, b in zip(steps, *kept, strict=True)
    ]
