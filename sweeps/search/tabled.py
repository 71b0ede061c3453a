"""A table of learning curves as a place to train: what a piece of training takes, and what is measured at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.errors import UserError
from sweeps.search.listed import Listed
from sweeps.search.regret import Truth
from sweeps.space import Sweep

OVERHEAD = 0.1
"""Epochs that a start, a resumption and an evaluation take, each."""
AVERAGED_FROM = 0.25
"""Share of training from which on averaged weights are measured, where there are any: before, they lag."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """A part of a training.

    Attributes:
        seconds: that it took, overheads and the evaluation at its end included.
        epoch: that it came to.
        values: of the objectives, by name; None where the training broke off.
    """

    seconds: float
    epoch: int
    values: Mapping[str, float] | None


@dataclass(frozen=True)
class Curves:
    """What a table says of settings: an axis of settings, one of seeds, one of the epochs that were looked at.

    Attributes:
        settings: options of each, by name.
        epochs: rising, the last is the whole training.
        seconds: [settings, seeds, epochs] of training from the beginning, nan after it broke off.
        seen: [settings, seeds, epochs, objectives] on validation, as a search would be told; nan where nothing was.
        final: [settings, seeds, objectives] after the whole training, on images that no search sees.
    """

    settings: Sequence[Mapping[str, object]]
    epochs: tuple[int, ...]
    seconds: Array
    seen: Array
    final: Array

    @property
    def seeds(self) -> int:
        """How many trainings there are of a setting."""
        return self.seconds.shape[1]


class Tabled:
    """Trainings with one seed, as a search meets them. The truth is the mean of the other seeds, where there are any."""

    def __init__(self, sweep: Sweep, curves: Curves, seed: int) -> None:
        """Args: sweep: objectives and options. seed: which of the table's the search meets, counted round and round.

        Raises:
            UserError: no training of the table came to its end.
        """
        self.objectives = dict(sweep.objectives)
        self.listed = Listed(sweep.space, curves.settings)
        self.epochs = curves.epochs
        self._signs = np.array([1.0 if mode == "max" else -1.0 for mode in self.objectives.values()])
        own = seed % curves.seeds
        others = [each for each in range(curves.seeds) if each != own] or [own]
        self._seen = curves.seen[:, own]
        self._seconds = _filled(curves.seconds, curves.epochs)
        self._last = np.where(np.isnan(self._seen).any(axis=2), -1, np.arange(len(self.epochs))).max(axis=1)
        complete = ~np.isnan(curves.final).any(axis=(1, 2))
        if not complete.any():
            raise UserError("no setting of the table was trained to its end with every seed")
        means = np.where(complete[:, None], curves.final[:, others].mean(axis=1), np.nan)
        self.truth = Truth.of(means * self._signs)
        whole = [self.piece(place, 0, self.epochs[-1]).seconds for place in np.flatnonzero(complete)]
        self.whole = float(np.mean(whole))
        """Seconds of a whole training, overheads included, in the mean over settings: what costs are counted in."""

    def piece(self, place: int, begun: int, until: int) -> Piece:
        """A setting's training from one epoch to another, begun anew or gone on with."""
        at = self._at(until)
        reached = min(at, int(self._last[place]))
        broken = reached < at
        each = float(self._seconds[place, -1]) / self.epochs[-1]
        seconds = self._until(place, self.epochs[at]) - self._until(place, begun)
        if broken:
            seconds = max(self._until(place, self.epochs[min(reached + 1, at)]) - self._until(place, begun), 0.0)
        values = None if broken else self.values(place, self.epochs[at])
        return Piece(seconds + 2 * OVERHEAD * each, self.epochs[reached if broken else at] if reached >= 0 else 0, values)

    def values(self, place: int, epoch: int) -> dict[str, float]:
        """What is measured of a setting after so many epochs; nan where it broke off before."""
        numbers = self._seen[place, self._at(epoch)].tolist()
        return dict(zip(self.objectives, numbers, strict=True))

    def evaluation(self, place: int) -> float:
        """Seconds of one evaluation more."""
        return OVERHEAD * float(self._seconds[place, -1]) / self.epochs[-1]

    def gains(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """The objectives of a trial, better when larger."""
        return tuple(sign * values[name] for name, sign in zip(self.objectives, self._signs.tolist(), strict=True))

    def _at(self, epoch: int) -> int:
        """The place of an epoch among those looked at; of one between two, the later."""
        return min(int(np.searchsorted(self.epochs, epoch)), len(self.epochs) - 1)

    def _until(self, place: int, epoch: int) -> float:
        return float(np.interp(epoch, (0, *self.epochs), (0.0, *self._seconds[place].tolist())))


def _filled(seconds: Array, epochs: tuple[int, ...]) -> Array:
    """[settings, epochs] means over seeds: what a machine took for one training is more noise than setting. Past where a
    training broke off, at the pace that it had; of one that never came to a first look, at that of all.
    """
    known = ~np.isnan(seconds)
    count = known.sum(axis=1)
    means = np.divide(np.where(known, seconds, 0.0).sum(axis=1), count, out=np.full(count.shape, np.nan), where=count > 0)
    paces = means / np.asarray(epochs)
    usual = float(np.nanmean(paces))
    last = np.where(count > 0, np.arange(len(epochs)), -1).max(axis=1)
    own = np.where(last < 0, usual, paces[np.arange(len(paces)), np.maximum(last, 0)])
    return np.where(count > 0, means, own[:, None] * np.asarray(epochs))
