"""How judged images are turned and moved: drawn per image and over a grid. Loads without torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from robustray._later import Tensor, torch
from robustray.data import affine
from robustray.data.spatial import Resampling
from robustray.data.splits import Indices
from robustray.registry import Count, Options, Real
from robustray.seeding import derive


class Move(NamedTuple):
    """Where the images of a batch go."""

    degrees: NDArray[np.float64]
    """[B], counter-clockwise."""
    shift: NDArray[np.float64]
    """[B, 2] pixels, right and down."""


class MoveGrid(Options):
    """Turns and moves at equal distances, both ends included, every combination of them; one alone is none at all."""

    rotations: Count = Field(5, ge=1, le=1000, description="angles from -rotation to rotation")
    translations: Count = Field(3, ge=1, le=100, description="distances from -translation to translation, each way")


class Moves(Options):
    """Turns within `rotation` degrees about the centre and moves within `translation` pixels, of images that are judged.

    The draw of an image is uniform, and a function of its row in its split and of the draw's number alone: neither the
    batch nor what else is judged changes it, and wider ranges are the same draws scaled.
    """

    rotation: Real = Field(30, ge=0, le=180, description="largest angle in degrees, to either side")
    translation: Real = Field(3, ge=0, le=1000, description="largest distance in pixels, in each direction")
    draws: Count = Field(10, ge=1, le=1000, description="draws per image: their mean, and the worst of them")
    grid: MoveGrid | None = Field(None, description="a grid whose worst case is measured as well; null: none")
    disc: bool = Field(
        False, description="see images through the largest disc about their centre: corners tell no angle"
    )
    resampling: Resampling = Field(Resampling(), description="how pixels are found between and outside those there are")

    @model_validator(mode="after")
    def _some(self) -> Moves:
        if not self.rotation and not self.translation:
            raise ValueError("needs a rotation or a translation above 0; images that stay are judged anyway")
        return self

    @property
    def passes(self) -> int:
        """Through the model, per image, as METRICS counts them: as it is, at each draw, and at each point of the grid."""
        return 1 + self.draws + sum(1 for _ in self.points())

    def drawn(self, rows: Indices, draw: int) -> Move:
        """Where the images of these rows [B] of a split go at the draw of this number."""
        source = np.random.default_rng(derive("spatial", draw))
        unit = 2 * source.random((int(rows.max(initial=-1)) + 1, 3))[rows] - 1
        return Move(self.rotation * unit[:, 0], self.translation * unit[:, 1:])

    def points(self) -> Iterator[tuple[float, float, float]]:
        """Degrees and shift (right, down) of every point of the grid; none without one."""
        if self.grid is not None:
            degrees, pixels = (
                _spread(self.rotation, self.grid.rotations),
                _spread(self.translation, self.grid.translations),
            )
            yield from product(degrees, pixels, pixels)

    def seen(self, x: Tensor, move: Move | None = None) -> Tensor:
        """Images [B, C, H, W] as the model sees them: turned and moved, or as they are, and through the disc."""
        if move is not None:
            degrees, shift = (torch.from_numpy(each).to(x) for each in move)
            how = self.resampling
            x = affine.turned(self._through(x), degrees, shift, how.interpolation, how.fill)
        return self._through(x)

    def _through(self, x: Tensor) -> Tensor:
        if not self.disc:
            return x
        down, right = (torch.arange(side, device=x.device) - (side - 1) / 2 for side in x.shape[2:])
        inside = down[:, None] ** 2 + right[None, :] ** 2 <= (min(x.shape[2:]) / 2) ** 2
        return x * inside.to(x)


def _spread(reach: float, count: int) -> list[float]:
    """So many numbers from -reach to reach; 0 where that is one number or there is no reach."""
    if count == 1 or not reach:
        return [0.0]
    return [reach * (2 * index / (count - 1) - 1) for index in range(count)]
