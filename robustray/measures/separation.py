"""How far apart images of different classes are: what robustness to eps can ask for at all (Yang et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, torch
from robustray.data.splits import Indices
from robustray.errors import UserError
from robustray.measures.base import Ground, PerImage, Result, SplitName
from robustray.measures.distances import ROUNDING, Allowed, nearest
from robustray.registry import Count, Real, register
from robustray.seeding import derive

BINS = 20
LISTED = 1000
"""Conflicts in the table, the nearest first; all are counted."""


@register
class Separation(PerImage):
    """The least distance of an image to a training image of another class, in the threat's norm, over all images asked for:

        min_i d_i,   d_i = min over j in train, y_j != y_i of || x_i - x_j ||      (Yang et al., arXiv:2003.02460, section 3)

    `--split train` gives the train-train distance, `--split test` test-train. Where it is at least 2 eps, the data is
    eps-separated: some classifier is right everywhere within eps, so a trade-off between accuracy and robustness is not the
    data's. Every distance is exact, in whole grey levels. Published files hold the same image twice with two labels: pairs
    no farther apart than `conflict` are listed in `conflicts.csv` by their rows, and values are told without them as well. As
    a control the same is computed with labels drawn at random for all images: where classes are no farther apart than that,
    the distance says nothing of them.

    No pass through the model.
    """

    name: Literal["separation"] = "separation"
    needs_model: ClassVar[bool] = False
    reads: ClassVar[tuple[SplitName, ...]] = ("train",)
    at_once: ClassVar[int] = 1000
    conflict: Real = Field(
        0, ge=0, description="distance in pixels of [0, 1] up to which images of two classes are a conflict"
    )
    seed: Count = Field(0, ge=0, description="of the control's random labels")

    def check(self, ground: Ground) -> None:
        labels = ground.data.load("train").labels
        if len(np.unique(labels)) < 2:
            raise UserError(f"separation: all training images of {ground.data.name} are of one class")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        images, train = ground.data.load(ground.split), ground.data.load("train")
        own = images.take(rows)
        random = self._random(ground, ground.split, len(images))[rows], self._random(ground, "train", len(train))
        allowed = [Allowed(own.labels, train.labels, same=False), Allowed(*random, same=False)]
        found = nearest(own, train, allowed, ground.threat.norm, ground.device)
        apart, row = found.pixels(ground.threat.norm), found.row
        columns = {
            "distance": apart[0],
            "nearest": row[0],
            "nearest_label": train.labels[row[0]],
            "random_distance": apart[1],
        }
        return {name: torch.from_numpy(column) for name, column in columns.items()}

    def _random(self, ground: Ground, split: SplitName, count: int) -> Indices:
        """A label for every image of a split, [N]: on train the same whether it is asked for or compared with."""
        labels = ground.data.load("train").labels
        generator = torch.Generator().manual_seed(derive("measure", "separation", self.seed, split))
        drawn: Indices = torch.randint(int(labels.max()) + 1, (count,), generator=generator).numpy()
        return drawn

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        apart, random = columns["distance"], columns["random_distance"]
        conflict = apart <= self.conflict + ROUNDING
        twice = 2 * ground.threat.eps
        values = {**_told(apart), "two_eps": twice, "closer_than_two_eps": float((apart < twice - ROUNDING).mean())}
        values["conflicts"] = float(conflict.sum())
        if conflict.any() and not conflict.all():
            values |= {f"{name}_without_conflicts": value for name, value in _told(apart[~conflict]).items()}
        if np.isfinite(random).any():
            values |= {f"random_labels_{name}": value for name, value in _told(random).items()}
        values["random_labels_closer_than_two_eps"] = float((random < twice - ROUNDING).mean())
        least = values.pop("least")
        tables = {
            "histogram": _histogram(apart, random, ground),
            "conflicts": _conflicts(columns, conflict, ground),
        }
        return Result(
            least, values=values, columns=dict(columns), tables=tables, notes=self._notes(values, least, ground)
        )

    def _notes(self, values: Mapping[str, float], least: float, ground: Ground) -> tuple[str, ...]:
        notes = []
        told = values.get("least_without_conflicts", least)
        enough = told >= values["two_eps"] - ROUNDING
        notes.append(
            f"{'separated' if enough else 'not separated'}: {'the' if told == least else 'without conflicts the'} least "
            f"distance is {told:.4g}, 2 eps is {values['two_eps']:.4g} in {ground.threat.norm}"
        )
        if values["conflicts"]:
            notes.append(
                f"{values['conflicts']:.0f} images have a training image of another class within {self.conflict:g}: "
                "conflicts.csv lists them"
            )
        return tuple(notes)

    def passes(self, ground: Ground) -> float:
        return 0.0


def _told(apart: NDArray[np.float64]) -> dict[str, float]:
    there = apart[np.isfinite(apart)]
    return {"least": float(there.min()), "mean": float(there.mean()), "median": float(np.median(there))}


def _histogram(apart: NDArray[np.float64], random: NDArray[np.float64], ground: Ground) -> Sequence[Mapping[str, Any]]:
    """BINS rows: images by distance, on [0, 1] in linf, else up to the largest distance; with random labels beside it."""
    far = max(float(each[np.isfinite(each)].max(initial=0)) for each in (apart, random))
    edges = np.linspace(0, 1.0 if ground.threat.norm == "linf" else far or 1.0, BINS + 1)
    images, control = (np.histogram(each[np.isfinite(each)], edges)[0] for each in (apart, random))
    return [
        {
            "from": float(edges[at]),
            "to": float(edges[at + 1]),
            "images": int(images[at]),
            "random_labels": int(control[at]),
        }
        for at in range(BINS)
    ]


def _conflicts(
    columns: Mapping[str, NDArray[Any]], conflict: NDArray[np.bool_], ground: Ground
) -> Sequence[Mapping[str, Any]]:
    """A row for each pair: the image's row in its split, its training image's in train, both labels, their distance."""
    labels = ground.data.load(ground.split).labels[ground.rows]
    at = np.flatnonzero(conflict)
    order = at[np.argsort(columns["distance"][at], kind="stable")][:LISTED]
    return [
        {
            "image": int(ground.rows[row]), "label": int(labels[row]), "train_image": int(columns["nearest"][row]),
            "train_label": int(columns["nearest_label"][row]), "distance": float(columns["distance"][row]),
        }
        for row in order
    ]  # fmt: skip
