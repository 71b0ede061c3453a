"""A table of learning curves as a place to train: what a piece of training takes, and what is measured at its end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.errors import UserError
from sweeps.search.regret import Truth
from sweeps.search.table_arrays import METRICS, Array, Split, Weights
from sweeps.search.tables import Table
from sweeps.space import Sweep

OVERHEAD = 0.1
"""Epochs that a start, a resumption and an evaluation take, each."""
AVERAGED_FROM = 0.25
"""Share of training from which on averaged weights are measured, where there are any: before, they lag."""


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

    @classmethod
    def of(cls, table: Table, objectives: Sequence[str]) -> Curves:
        """Those of a table: at a quarter of training and later of averaged weights, where it has them.

        Raises:
            UserError: it has no column for an objective, or trainings are of several lengths.
        """
        if other := [name for name in objectives if name not in METRICS]:
            raise UserError(
                f"{table.path}: has nothing of {other[0]}; searches over tables are for {' and '.join(METRICS)}"
            )
        lengths = sorted({setting.epochs for setting in table.settings})
        if len(lengths) > 1:
            raise UserError(
                f"{table.path}: trainings are of {lengths[0]} to {lengths[-1]} epochs; one length is needed"
            )
        late = np.asarray(table.epochs)[:, None] >= AVERAGED_FROM * lengths[0]
        early, averaged = (_measured(table, objectives, "validation", late=each) for each in (False, True))
        final = _measured(table, objectives, "test", late=True)[:, :, -1]
        settings = [setting.params for setting in table.settings]
        return cls(settings, tuple(table.epochs), table.seconds, np.where(late, averaged, early), final)

    @property
    def seeds(self) -> int:
        """How many trainings there are of a setting."""
        return int(self.seconds.shape[1])

    def digest(self) -> str:
        """Of all that is in it: equal for equal curves."""
        found = hashlib.sha256(repr([sorted(each.items()) for each in self.settings]).encode())
        for array in (np.asarray(self.epochs), self.seconds, self.seen, self.final):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


def _measured(table: Table, objectives: Sequence[str], split: Split, *, late: bool) -> Array:
    """[settings, seeds, epochs, objectives] of the weights that are measured late, or early, or of those that there are."""
    order: tuple[Weights, Weights] = ("averaged", "raw") if late else ("raw", "averaged")
    for weights in order:
        if all(f"{split}_{weights}_{name}" in table.accuracies for name in objectives):
            return table.values(objectives, split=split, weights=weights)
    raise UserError(f"{table.path}: has no {split} accuracies of {' and '.join(objectives)}")


class Tabled:
    """Trainings with one seed, as a search meets them, and with the next ones where it trains settings again. The truth is the
    mean of the seeds that it never meets, where there are any.

    Attributes:
        met: how many seeds of a setting may be met: as many as are wanted, but one is left for the truth.
    """

    def __init__(self, sweep: Sweep, curves: Curves, seed: int, met: int = 1) -> None:
        """Args:
        sweep: objectives and options.
        seed: which of the table's the search meets, counted round and round.
        met: of how many seeds of a setting the search wants to know.

        Raises:
            UserError: no training of the table came to its end.
        """
        self.objectives = dict(sweep.objectives)
        self.settings = curves.settings
        self.epochs = curves.epochs
        self._signs = np.array([1.0 if mode == "max" else -1.0 for mode in self.objectives.values()])
        self.met = max(1, min(met, curves.seeds - 1))
        order = [(seed + more) % curves.seeds for more in range(curves.seeds)]
        own, others = order[: self.met], order[self.met :] or order
        self._seen = curves.seen[:, own]
        self._seconds = _filled(curves.seconds, curves.epochs)
        self._last = np.where(np.isnan(self._seen).any(axis=3), -1, np.arange(len(self.epochs))).max(axis=2)
        complete = np.asarray(~np.isnan(curves.final).any(axis=(1, 2)))
        if not complete.any():
            raise UserError("no setting of the table was trained to its end with every seed")
        means = np.where(complete[:, None], curves.final[:, others].mean(axis=1), np.nan)
        self.truth = Truth.of(np.where(_kept(sweep, means)[:, None], means, np.nan) * self._signs)
        whole = [self.piece(place, 0, self.epochs[-1]).seconds for place in np.flatnonzero(complete).tolist()]
        self.whole = float(np.mean(whole))
        if not 0 < self.whole < np.inf:
            raise UserError("trainings of the table take no time, or for ever; its seconds must be above 0")
        """Seconds of a whole training, overheads included, in the mean over settings: what costs are counted in."""

    def piece(self, place: int, begun: int, until: int, again: int = 0) -> Piece:
        """A setting's training from one epoch to another, begun anew or gone on with.

        Args:
            again: how many trainings of the setting there were before, with other seeds.
        """
        at, last = self._at(until), int(self._last[place, again])
        overheads = 2 * self.evaluation(place)
        if last >= at:
            seconds = self._until(place, until) - self._until(place, begun)
            return Piece(seconds + overheads, until, self.values(place, until, again))
        broke = self.epochs[last + 1]  # at some epoch before
        return Piece(max(self._until(place, broke) - self._until(place, begun), 0.0) + overheads, broke, None)

    def values(self, place: int, epoch: int, again: int = 0) -> dict[str, float]:
        """What is measured of a setting after so many epochs, as far as the table knows: when it was looked at last."""
        numbers = self._seen[place, again, self._at(epoch)].tolist()
        return dict(zip(self.objectives, numbers, strict=True))

    def evaluation(self, place: int) -> float:
        """Seconds of one evaluation more."""
        return OVERHEAD * float(self._seconds[place, -1]) / self.epochs[-1]

    def gains(self, values: Mapping[str, float]) -> tuple[float, ...]:
        """The objectives of a trial, better when larger."""
        return tuple(sign * values[name] for name, sign in zip(self.objectives, self._signs.tolist(), strict=True))

    def _at(self, epoch: int) -> int:
        """The place of the last look at or before an epoch."""
        return max(int(np.searchsorted(self.epochs, epoch, side="right")) - 1, 0)

    def _until(self, place: int, epoch: int) -> float:
        return float(np.interp(epoch, (0, *self.epochs), (0.0, *self._seconds[place].tolist())))


def _kept(sweep: Sweep, means: Array) -> NDArray[np.bool_]:
    """[settings] which keep to the constraints of a space, by what is true of them.

    Raises:
        UserError: a constraint is on what tables do not have, or no setting keeps to them.
    """
    names, kept = list(sweep.objectives), ~np.isnan(means).any(axis=1)
    for name, bound in sweep.constraints.items():
        if name not in names:
            raise UserError(f"constraints.{name}: tables know of {' and '.join(names)} alone; leave it out")
        values = means[:, names.index(name)]
        kept &= (values >= (-np.inf if bound.min is None else bound.min)) & (
            values <= (np.inf if bound.max is None else bound.max)
        )
    if not kept.any():
        raise UserError("constraints: no setting of the table keeps to them")
    return np.asarray(kept)


def _filled(seconds: Array, epochs: tuple[int, ...]) -> Array:
    """[settings, epochs] means over seeds: what a machine took for one training is more noise than setting. Past where a
    training broke off, at the pace that it had; of one that never came to a first look, at that of all.
    """
    known = ~np.isnan(seconds)
    count = known.sum(axis=1)
    means = np.divide(
        np.where(known, seconds, 0.0).sum(axis=1), count, out=np.full(count.shape, np.nan), where=count > 0
    )
    paces = means / np.asarray(epochs)
    usual = float(np.nanmean(paces))
    last = np.where(count > 0, np.arange(len(epochs)), -1).max(axis=1)
    own = np.where(last < 0, usual, paces[np.arange(len(paces)), np.maximum(last, 0)])
    return np.asarray(np.where(count > 0, means, own[:, None] * np.asarray(epochs)))
