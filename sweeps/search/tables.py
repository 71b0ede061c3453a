"""Tables of learning curves: what many trainings of a space measured on the way, to search over without training.

A file has a row per (setting, seed, epoch), with the columns

    setting, seed, epoch   whole numbers; a setting's options are the same in all of its rows
    epochs                 of the whole training
    seconds                of training, from the beginning to that epoch; evaluation is not in it
    outcome                `complete`, or what else became of the training: `diverged`
    <option>               one for each option of the space, by its name (`defense.trades.beta`); empty where it is inactive
    <split>_<weights>_<metric>   a fraction: validation or test; raw or averaged weights; clean_accuracy or robust_accuracy

and optionally cpu_seconds (of the process) and load (of the machine). A training that broke off has rows up to then, and may
have one without accuracies of the epoch in which it did.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.errors import UserError, nearest
from sweeps.search.table_arrays import COMPLETE, METRICS, Array, Arrays, Split, Weights
from sweeps.search.table_files import read_rows, write_rows
from sweeps.search.table_rows import assembled
from sweeps.space import Sweep


class Table(Arrays):
    """A table in memory. Axes: S settings in the order of their numbers, K seeds, E epochs, both rising."""

    @classmethod
    def read(cls, path: str | Path, sweep: Sweep | None = None) -> Table:
        """Reads a table, and checks all of it.

        Args:
            path: a `.parquet` file, or JSON lines.
            sweep: the space that its options are of; by default that of the file of the same name with `.yaml`.

        Raises:
            UserError: one line, `table.parquet: row 7: ...`: a column is missing or unknown, a value is not what it must be, a
                row is there twice, rows of a setting disagree, options are none of the space.
        """
        path = Path(path)
        rows, about = read_rows(path)
        sweep = sweep or Sweep.from_yaml(path.with_suffix(".yaml"))
        return cls(**vars(assembled(path, rows, about, sweep)))

    def write(self, path: Path) -> None:
        """Writes all of it, by the name's ending as parquet or as JSON lines; cpu_seconds and load are not kept."""
        write_rows(path, self.rows(), self.about)

    def values(
        self, metrics: Sequence[str] = METRICS, *, split: Split = "validation", weights: Weights = "averaged"
    ) -> Array:
        """[S, K, E, M] accuracies.

        Raises:
            UserError: the table has no such column.
        """
        names = [f"{split}_{weights}_{metric}" for metric in metrics]
        for name in names:
            if name not in self.accuracies:
                raise UserError(f"{self.path}: has no column {name}; {nearest(name, self.accuracies)}")
        return np.stack([self.accuracies[name] for name in names], axis=-1)

    @cached_property
    def complete(self) -> NDArray[np.bool_]:
        """[S, K] which trainings came to their end."""
        return np.array([[each == COMPLETE for each in seeds] for seeds in self.outcomes], dtype=np.bool_)

    def place(self, params: Mapping[str, object]) -> int | None:
        """Where these very options stand among the settings, None where they do not."""
        return self._places.get(frozenset(params.items()))

    def rows(self) -> list[dict[str, Any]]:
        """As they stand in a file, by setting, seed and epoch."""
        found: list[dict[str, Any]] = []
        for place, setting in enumerate(self.settings):
            for seed_place, seed in enumerate(self.seeds):
                outcome = self.outcomes[place][seed_place]
                common = {"setting": setting.number, "seed": seed}
                rest = {"epochs": setting.epochs, "outcome": outcome, **setting.params}
                for at, epoch in enumerate(self.epochs):
                    where = (place, seed_place, at)
                    measured = {name: float(values[where]) for name, values in self.accuracies.items()}
                    measured = {name: value for name, value in measured.items() if not math.isnan(value)}
                    if measured:
                        found.append(
                            {**common, "epoch": epoch, "seconds": float(self.seconds[where]), **rest, **measured}
                        )
                if (place, seed_place) in self.broke:
                    epoch, seconds = self.broke[place, seed_place]
                    found.append({**common, "epoch": epoch, "seconds": seconds, **rest})
        return found

    @cached_property
    def _places(self) -> dict[frozenset[tuple[str, object]], int]:
        return {frozenset(setting.params.items()): place for place, setting in enumerate(self.settings)}
