"""Points by key in one matrix that grows, so that all of them can be looked at in one pass."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)


class Rows(Generic[K]):
    """A row of `values` per key; rows of keys that were removed are nan, which compares with nothing, and used again.

    Attributes:
        values: [rows, m]
        keys: by row; what a free row says means nothing.
    """

    def __init__(self, columns: int) -> None:
        """Args: columns: m, numbers per point."""
        self.values: NDArray[np.float64] = np.full((0, columns), np.nan)
        self.keys: list[K] = []
        self._row: dict[K, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: K) -> bool:
        return key in self._row

    def find(self, key: K) -> int | None:
        """The row of a key, None where it has none."""
        return self._row.get(key)

    def put(self, key: K, point: NDArray[np.float64]) -> int:
        """Writes [m] a key's point; gives its row."""
        row = self._row.get(key)
        if row is None:
            row = self._row[key] = self._free.pop() if self._free else len(self.keys)
            if row == len(self.keys):
                self.keys.append(key)
            self.keys[row] = key
            if row == len(self.values):
                more = np.full((max(64, row), self.values.shape[1]), np.nan)
                self.values = np.concatenate([self.values, more])
        self.values[row] = point
        return row

    def remove(self, key: K) -> bool:
        """Frees a key's row; says whether it had one."""
        row = self._row.pop(key, None)
        if row is None:
            return False
        self.values[row] = np.nan
        self._free.append(row)
        return True

    def taken(self) -> NDArray[np.int64]:
        """The rows that hold a point."""
        return np.fromiter(self._row.values(), np.int64, len(self._row))
