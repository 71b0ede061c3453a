"""Accuracy class by class: whom robustness leaves behind."""

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
class PerClass(PerImage):
    """The robust accuracy of the class that has the lowest (Xu et al., ICML 2021, arXiv:2010.06121: robust training widens the
    gaps between classes; Wei et al., CVPR 2023, arXiv:2303.14767, report the worst class)

        min over classes k of   share of the images of class k that are classified correctly as they are and under the attack.

    `attack: null` measures clean accuracies alone. Its interval is [min_k l_k, min_k u_k] of Wilson's intervals [l_k, u_k] that
    hold for all K classes at once (Bonferroni, level 1 - 0.05 / K): that of the worst class alone would forget that it was
    chosen for being the worst. Table `classes`: both accuracies of each class, each with its own 95 % interval. Table
    `confusion`: how many images of a class are taken for which, as they are and under the attack. `mean` is over classes;
    those without images are left out. An answer with a NaN is -1, and never right.

    Passes per image: 1; with an attack its own and 1 more.
    """

    name: Literal["per_class"] = "per_class"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    attack: Annotated[Attack, Registered("attack")] | None = Field(
        Pgd(loss="margin", steps=20, keep="misclassified"),
        description="what accuracies are robust against; null: clean ones alone",
    )

    def check(self, ground: Ground) -> None:
        answered.in_evaluation(self.attack)

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        from robustray.measures.accuracy import answers

        found = {"predicted": answers(answered.logits(ground, x))}
        if self.attack is not None:
            x_adv = attacked(self.attack, ground.model, x, y, rows, ground.threat)
            found["predicted_attacked"] = answers(answered.logits(ground, x_adv))
        return found

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        labels = ground.data.load(ground.split).labels[ground.rows]
        right = {"clean": columns["predicted"] == labels}
        if self.attack is not None:
            right["robust"] = right["clean"] & (columns["predicted_attacked"] == labels)
        classes = np.unique(labels)
        table, values = [_row(int(label), labels, right) for label in classes], dict[str, float]()
        *_, kind = right
        for name in right:
            accuracy = [row[name] for row in table]
            begins = "" if name == kind else f"{name}_"
            values |= {
                f"{begins}worst_class": float(classes[int(np.argmin(accuracy))]),
                f"{begins}mean": float(np.mean(accuracy)),
                f"{begins}best": max(accuracy),
            }
            if begins:
                values[f"{begins}worst"] = min(accuracy)
        level = 1 - (1 - intervals.LEVEL) / len(classes)
        ends = [intervals.share(int(right[kind][labels == k].sum()), int((labels == k).sum()), level) for k in classes]
        low, high = (min(end) for end in zip(*ends, strict=True))
        tables = {"classes": table, "confusion": _confusion(columns, labels)}
        interval = "images of each class, Wilson, all classes at once"
        return Result(min(row[kind] for row in table), low, high, interval, values, columns, tables)

    def passes(self, ground: Ground) -> float:
        return answered.passes(len(ground), self.attack)


def _row(label: int, labels: Indices, right: Mapping[str, NDArray[np.bool_]]) -> dict[str, Any]:
    inside = labels == label
    row: dict[str, Any] = {"class": label, "images": int(inside.sum())}
    for name, hits in right.items():
        count = int(hits[inside].sum())
        row[name] = count / row["images"]
        row[f"{name}_low"], row[f"{name}_high"] = intervals.share(count, row["images"])
    return row


def _confusion(columns: Mapping[str, NDArray[Any]], labels: Indices) -> list[dict[str, Any]]:
    """A row for each (label, answer) that occurs: how many images."""
    answers = {column.replace("predicted", "images"): columns[column] for column in columns}
    counts = {name: dict[tuple[int, int], int]() for name in answers}
    for name, column in answers.items():
        for pair, count in zip(*np.unique(np.stack([labels, column], 1), axis=0, return_counts=True), strict=True):
            counts[name][int(pair[0]), int(pair[1])] = int(count)
    pairs = sorted({pair for count in counts.values() for pair in count})
    return [
        {"label": label, "answer": answer, **{name: count.get((label, answer), 0) for name, count in counts.items()}}
        for label, answer in pairs
    ]
