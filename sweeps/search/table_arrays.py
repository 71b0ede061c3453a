"""A table of learning curves as arrays, and what its columns are called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["validation", "test"]
Weights = Literal["raw", "averaged"]
METRICS = ("clean_accuracy", "robust_accuracy")
ACCURACIES = tuple("_".join(parts) for parts in product(get_args(Split), get_args(Weights), METRICS))
WHOLE = ("setting", "seed", "epoch", "epochs")
REQUIRED = (*WHOLE, "seconds", "outcome")
OPTIONAL = ("cpu_seconds", "load")
COMPLETE = "complete"
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """Options that were trained, once per seed."""

    number: int  # in the file
    params: Mapping[str, object]
    epochs: int  # of its whole training


@dataclass(frozen=True)
class Arrays:
    """What a table says. Axes: S settings in the order of their numbers, K seeds, E epochs, both rising.

    Attributes:
        path: where it was read.
        settings: S of them.
        seeds: K of them.
        epochs: all at which some training was measured.
        seconds: [S, K, E] of training until then; nan where that training has no row.
        accuracies: by column, [S, K, E] in [0, 1]; nan where there is no row.
        outcomes: [S][K] `complete`, `diverged` ...; None where there was no such training.
        broke: (setting's place, seed's place) to the epoch and the seconds at which a training broke off, where a row says so.
        about: what made it.
    """

    path: Path
    settings: tuple[Setting, ...]
    seeds: tuple[int, ...]
    epochs: tuple[int, ...]
    seconds: Array
    accuracies: Mapping[str, Array]
    outcomes: tuple[tuple[str | None, ...], ...]
    broke: Mapping[tuple[int, int], tuple[int, float]]
    about: Mapping[str, Any] = field(default_factory=dict)
