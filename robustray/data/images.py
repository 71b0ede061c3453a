"""Images and labels of one split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.data.pixels import AT_ONCE


@dataclass(frozen=True)
class Images:
    """Images uint8 [N, H, W, C] and labels int64 [N] of one split.

    Images in memory are what they are. Of those that are mapped from a file, `take` remembers rows and reads nothing: a
    split of a set larger than memory is an array on disk and a list of rows.

    Args:
        stored: uint8 [M, H, W, C], of which the images are some rows.
        labels: of the images. rows: int64 [N], which ones; None for all, M = N.
    """

    stored: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.stored) if self.rows is None else len(self.rows)
        if self.stored.dtype != np.uint8 or self.stored.ndim != 4 or self.labels.shape != (count,):
            raise ValueError(f"need uint8 [N, H, W, C] and [N], not {self.stored.dtype} {self.stored.shape} and "
                             f"{self.labels.shape}")  # fmt: skip

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> NDArray[np.uint8]:
        """All of them; where they are some rows of a file, read anew each time."""
        return self.stored if self.rows is None else self.stored[self.rows]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        _, height, width, channels = self.stored.shape
        return height, width, channels

    @property
    def mapped(self) -> bool:
        """Whether they are in a file, of which pages are read when they are touched."""
        return isinstance(self.stored, np.memmap)

    def take(self, rows: NDArray[np.int64]) -> Images:
        """The given rows."""
        if not self.mapped:
            return Images(self.stored[rows], self.labels[rows])
        return Images(self.stored, self.labels[rows], rows if self.rows is None else self.rows[rows])

    def pieces(self) -> Iterator[NDArray[np.uint8]]:
        """All of them, a few hundred at a time, in order."""
        for start in range(0, len(self), AT_ONCE):
            piece = slice(start, start + AT_ONCE)
            yield self.stored[piece] if self.rows is None else self.stored[self.rows[piece]]
