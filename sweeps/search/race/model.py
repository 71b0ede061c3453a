"""The model of a field: what every setting's whole training is believed to measure, and how long it takes."""

from __future__ import annotations

import math
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import ranks
from sweeps.search.race.cokriging import FEWEST, CoKriging, Level
from sweeps.search.race.encoding import Encoding
from sweeps.search.race.gp import GP, Hyper, fit
from sweeps.search.race.options import RaceOptions
from sweeps.search.race.remembered import Remembered
from sweeps.search.race.rows import FAILED, Rows
from sweeps.search.race.warping import half_rank, where

Array = NDArray[np.float64]
Places = NDArray[np.int64]
_FIRST_FIT, _GROWTH = 8, 1.15
_KEPT = 64  # fits that are remembered


def fit_size(n: int) -> int:
    """The largest of 8, ceil(1.15 * 8), ... that is not above n; 0 where n is below 8."""
    size, found = _FIRST_FIT, 0
    while size <= n:
        size, found = math.ceil(_GROWTH * size), size
    return found


def evenly(n: int, most: int) -> Places:
    """At most so many of range(n), the first and the last among them, at even distances."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(np.int64))


def thinned(values: Array, most: int) -> Places:
    """Rows of [n, m] to keep, rising: the better half of them by non-dominated rank, the other half evenly from the rest."""
    n, half = len(values), most // 2
    if n <= most or not half:
        return evenly(n, most)
    rank = ranks(-values) if values.shape[1] > 1 else -values[:, 0]  # which orders one objective as its ranks do
    last = np.partition(rank, half - 1)[half - 1]
    best = rank < last
    best[np.flatnonzero(rank == last)[: half - int(best.sum())]] = True  # the first of equal ones
    rest = np.flatnonzero(~best)
    best[rest[evenly(len(rest), most - half)]] = True
    return np.flatnonzero(best)


class Fits:
    """Hyperparameters, fitted cold to the first values in order of report, and remembered: a replay finds the same ones.

    Attributes:
        remembered: what else stands from one decision to the next.
    """

    def __init__(self, points: int) -> None:
        """Args: points: at most so many a rung are fitted to."""
        self.points = points
        self.remembered = Remembered()
        self._known: OrderedDict[bytes, list[Hyper | None]] = OrderedDict()

    def of_levels(self, x: Array, values: Array, orders: NDArray[np.int64], *, own: bool) -> list[Hyper | None]:
        """Of each rung's process. Args: x: [n, d]. values: [n, rungs, m], orders: [n, rungs]. own: see `CoKriging`."""
        measured = ~np.isnan(values[:, :, 0])
        at, rung = np.nonzero(measured)
        size = fit_size(len(at))
        if not size:
            return [None] * values.shape[1]
        when = orders[at, rung] * values.shape[1] + rung
        early = when <= np.partition(when, size - 1)[size - 1]  # more than `size` of them where some came at one time
        at, rung, when = at[early], rung[early], when[early]

        def fitted(*_: NDArray[Any]) -> list[Hyper | None]:
            first = np.argsort(when, kind="stable")[:size]
            return self._of_reports(x, values, at[first], rung[first], own=own)

        name = "levels", size, values.shape[1], own
        return self.remembered.of(name, fitted, at, rung, when, x[at], values[at, rung])

    def _of_reports(self, x: Array, values: Array, at: Places, rung: Places, *, own: bool) -> list[Hyper | None]:
        """As `of_levels`. Args: at, rung: [k] of which trials at which rungs, in order of report."""
        key = blake2b(np.concatenate([x[at], values[at, rung], rung[:, None]], axis=1).tobytes()).digest()
        if key not in self._known:
            known = np.full_like(values[: at.max() + 1], np.nan)
            known[at, rung] = values[at, rung]
            levels = []
            for place in range(values.shape[1]):
                trials = at[rung == place]
                known[trials, place] = half_rank(known[trials, place])
                trials = trials[evenly(len(trials), self.points)]
                levels.append(Level(x[trials], known[trials, place], known[trials, max(place - 1, 0)]))
            self._remember(key, CoKriging(levels, own=own).hypers)
        return self._known[key]

    def of_values(self, name: object, x: Array, y: Array, orders: NDArray[np.int64]) -> Hyper:
        """Of one process. Args: name: its own. x: [n, d]. y: [n, m]. orders: [n]."""
        size = fit_size(len(y))
        if not size:
            return Hyper.usual(x.shape[1])
        early = orders <= np.partition(orders, size - 1)[size - 1]
        x, y, orders = x[early], y[early], orders[early]

        def fitted(x: Array, y: Array, orders: NDArray[np.int64]) -> Hyper:
            first = np.argsort(orders, kind="stable")[:size][evenly(size, self.points)]
            key = blake2b(np.concatenate([x[first], y[first]], axis=1).tobytes()).digest()
            if key not in self._known:
                self._remember(key, [fit(x[first], y[first])])
            return self._known[key][0] or Hyper.usual(x.shape[1])

        return self.remembered.of(("values", name, size), fitted, x, y, orders)

    def _remember(self, key: bytes, hypers: list[Hyper | None]) -> None:
        self._known[key] = hypers
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)


class Model:
    """Beliefs about one moment.

    Attributes:
        values: [n, rungs, m] of the field's rows, warped; worst where a trial failed.
        finals: beliefs about whole trainings.
    """

    def __init__(self, rows: Rows, encoding: Encoding, scales: Array, options: RaceOptions, fits: Fits) -> None:
        """Args: rows: of the field. scales: [m] that objectives are divided by. fits: remembered."""
        self._encoding, self._options = encoding, options
        self.values = rows.values / scales
        if not rows.measured.any():
            raise ValueError("nothing was measured")
        x = rows.inputs
        hypers = fits.of_levels(x, self.values, rows.orders, own=options.own_values)
        self._fail(rows)
        levels = []
        for place in range(self.values.shape[1]):
            at = np.flatnonzero(~np.isnan(self.values[:, place, 0]))
            self._measured = self.values[at, place]  # at last, of the last rung
            few, warped = fits.remembered.of((place, options.model_points), self._seen, self._measured)
            kept = at[few]
            self.values[at, place] = warped
            levels.append(Level(x[kept], self.values[kept, place], self.values[kept, max(place - 1, 0)]))
        self.finals = CoKriging(levels, hypers, own=options.own_values)
        self._x = x
        self._seconds = self._process(rows.seconds, rows.first, fits)

    def known(self, at: Places, upto: int | None = None) -> tuple[Array, Array]:
        """Mean and variance [k, m] of trials in rows of the field."""
        return self.finals.predict(self._x[at], self.values[at], upto)

    def new(self, settings: Array, upto: int | None = None) -> tuple[Array, Array]:
        """Likewise of new settings."""
        return self.finals.predict(self._encoding.inputs(settings), None, upto)

    def limits(self, limits: Array) -> Array:
        """[m] limits of objectives among the values that the model believes in."""
        return where(limits, self._measured)

    def seconds(self, settings: Array) -> Array:
        """[k] of whole trainings of settings."""
        if self._seconds is None:
            return np.ones(len(settings))
        if isinstance(self._seconds, float):
            return np.full(len(settings), self._seconds)
        return np.exp(self._seconds.mean(self._encoding.inputs(settings))[:, 0])

    def _process(self, seconds: Array, orders: NDArray[np.int64], fits: Fits) -> GP | float | None:
        """Of log seconds; their geometric mean where they are few; None where there are none."""
        at = np.flatnonzero(~np.isnan(seconds))
        logs = np.log(seconds[at])[:, None]
        if not len(at):
            return None
        if len(at) < FEWEST:
            return float(np.exp(logs.mean()))
        hyper = fits.of_values("seconds", self._x[at], logs, orders[at])
        kept = evenly(len(at), self._options.fit_points)
        return GP(self._x[at[kept]], logs[kept], hyper)

    def _seen(self, measured: Array) -> tuple[Places, Array]:
        """Of what was measured at a rung: which the model rests on, and all of it warped."""
        return thinned(measured, self._options.model_points), half_rank(measured)

    def _fail(self, rows: Rows) -> None:
        """What failed is the worst at the rung that it did not come to."""
        for place in range(self.values.shape[1]):
            here = self.values[:, place]
            failed = (rows.states == FAILED) & (rows.reached == place - 1)
            measured = ~np.isnan(here[:, 0])
            if failed.any() and measured.any():
                here[failed] = here[measured].min(0)
