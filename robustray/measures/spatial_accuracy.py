"""Accuracy under turns and moves, image by image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from numpy.typing import NDArray
from pydantic import Field

from robustray._later import Tensor, torch
from robustray.data.moves import Moves
from robustray.data.splits import Indices
from robustray.measures import intervals
from robustray.measures.base import Ground, PerImage, Result
from robustray.measures.metrics import Direction
from robustray.registry import register


@register
class Spatial(PerImage):
    """Share of images that stand every turn and move (Engstrom et al., ICML 2019, arXiv:1712.02779).

    They are classified correctly as they are, at every draw, and at every point of the grid where there is one.

    `spatial_accuracy` is the mean over draws (random turns), `spatial_worst_accuracy` the worst of them,
    `spatial_grid_accuracy` the worst of the grid, `spatial_fooling_rate` the mean share of images whose class a draw changes
    (Kamath et al., NeurIPS 2021, arXiv:2002.11318). Draws depend on an image's row and the draw's number alone, and are those
    of `judge.spatial`. The threat plays no part. Columns: how many draws leave an image right, and whether it stands all of
    them. Interval: Wilson's.

    Passes per image: 1 + draws + points of the grid.
    """

    name: Literal["spatial"] = "spatial"
    unit: ClassVar[Literal["fraction", "number"]] = "fraction"
    better: ClassVar[Direction | None] = "max"
    moves: Moves = Field(Moves(), description="how far images turn and move, how often, and over which grid")

    def each(self, x: Tensor, y: Tensor, rows: Indices, ground: Ground) -> Mapping[str, Tensor]:
        from robustray.measures.spatial import moved_answers

        with torch.no_grad():
            return moved_answers(ground.model, x, y, rows, self.moves)

    def summary(self, columns: Mapping[str, NDArray[Any]], ground: Ground) -> Result:
        means = ("spatial_accuracy", "spatial_fooling_rate")
        values = {
            name: float(column.mean()) / (self.moves.draws if name in means else 1) for name, column in columns.items()
        }
        stands = columns["spatial_worst_accuracy"]
        if "spatial_grid_accuracy" in columns:
            stands = stands & columns["spatial_grid_accuracy"]
        kept = {"clean": columns["clean_accuracy"], "draws_right": columns["spatial_accuracy"], "stands": stands}
        low, high = intervals.share(int(stands.sum()), len(stands))
        return Result(float(stands.mean()), low, high, "images, Wilson", values, kept)

    def passes(self, ground: Ground) -> float:
        return float(len(ground) * self.moves.passes)
