"""What each trial, paused or new, is expected to add, and at what cost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import ranks
from sweeps.search.race.cokriging import FEWEST
from sweeps.search.race.ehvi import gain, gained, reference
from sweeps.search.race.encoding import Encoding
from sweeps.search.race.gp import GP
from sweeps.search.race.model import Fits, Model, evenly, thinned
from sweeps.search.race.options import RaceOptions
from sweeps.search.race.region import Region, between
from sweeps.search.race.remembered import Remembered
from sweeps.search.race.rows import COMPLETE, PAUSED, RUNNING, Rows

Array = NDArray[np.float64]
Places = NDArray[np.int64]


class Outlook:
    """Scores: expected gain over the believed frontier, per second that is left.

    The believed frontier is that of finished and running trials, each at its mean: a running one is believed to come out as
    predicted, so workers spread (kriging believer).

    Attributes:
        front: [k, parameters] settings on the first two predicted fronts.
    """

    def __init__(
        self, rows: Rows, model: Model, region: Region, encoding: Encoding, options: RaceOptions, fits: Fits
    ) -> None:
        """Args: rows: of the field, and a model of them."""
        self._rows, self._model, self._options = rows, model, options
        self._region = region.seen_by(model.limits)
        self._encoding = encoding
        self._paused = _some(rows, PAUSED, options.weighed, fits.remembered)
        done = _some(rows, COMPLETE, options.weighed, fits.remembered)
        self._costs = [self._cost(place, fits) for place in range(len(region.limits))]
        running = np.flatnonzero(rows.states == RUNNING)
        self._base = np.concatenate([done[self._within(done)], running])
        self._every = np.concatenate([self._base, self._paused])
        self._level: int | None = None
        self._room = np.inf
        self._at_level: dict[int | None, tuple[Array, Array]] = {}
        self._rng: np.random.Generator | None = None
        mean, _ = self._known(None)
        first_two = ranks(-mean) < 2
        self.front = rows.settings[self._every[first_two]]

    def begin(self, rng: np.random.Generator | None, level: int | None, seconds: float = np.inf) -> None:
        """Sets what gains are of.

        Args:
            level: the index of the rung at which they are looked for; None: the end.
            seconds: that a training may still take: what would take longer gains nothing.
        """
        self._level, self._room = level, seconds
        mean, _ = self._known(level)
        base = mean[: len(self._base)]
        self._points = base[self._region.allowed(base)]
        self._lowest = reference(mean, self._region.floor)
        self._rng = rng if self._options.thompson else None
        self._scores = self._of_paused()
        self._order = np.lexsort((self._paused, -self._rows.share[self._paused], -self._scores))

    def best_paused(self) -> tuple[int | None, float]:
        """The number and the score of the paused trial of largest score, the one that has come furthest of equals; None of
        none.
        """
        if not len(self._order) or self._scores[self._order[0]] == -np.inf:
            return None, -np.inf
        first = self._order[0]
        return self._rows.number(int(self._paused[first])), float(self._scores[first])

    def paused_by_score(self) -> list[int]:
        """Numbers of all paused trials, the best first. Of very many those that are weighed come first; the others follow by
        the share of their rung that is before them.
        """
        every = np.flatnonzero(self._rows.states == PAUSED)
        rest = every[~np.isin(every, self._paused)]
        if len(rest):
            share = _before(*_last(self._rows, every, PAUSED))[~np.isin(every, self._paused)]
            rest = rest[np.lexsort((rest, share))]
        return [self._rows.number(at) for at in [*self._paused[self._order].tolist(), *rest.tolist()]]

    def score(self, settings: Array, wider: float = 1.0) -> Array:
        """[k] of new settings; -inf of those whose training would take too long.

        Args:
            wider: what variances are multiplied by.
        """
        mean, variance = self._model.new(settings, self._level)
        variance = variance * wider if wider != 1 else variance
        seconds = self._model.seconds(settings)
        scores = self._gain(mean, variance, settings) / seconds**self._options.cost_power
        return np.where(seconds <= self._room, scores, -np.inf)

    def fitting(self, settings: Array) -> Array:
        """Those of new settings whose training would not take too long."""
        return settings if self._room == np.inf else settings[self._model.seconds(settings) <= self._room]

    def _of_paused(self) -> Array:
        mean, variance = self._known(self._level)
        skip = len(self._base)
        settings = self._rows.settings[self._paused]
        seconds = self._rows.seconds[self._paused]
        unknown = np.isnan(seconds)
        if unknown.any():
            seconds[unknown] = self._model.seconds(settings[unknown])
        left = np.maximum(seconds * (1 - self._rows.share[self._paused]), 1e-9)
        if not len(settings):
            return np.zeros(0)
        scores = self._gain(mean[skip:], variance[skip:], settings) / left**self._options.cost_power
        return np.where(left <= self._room, scores, -np.inf)

    def _gain(self, mean: Array, variance: Array, settings: Array) -> Array:
        if self._rng is not None:
            drawn = mean + np.sqrt(np.maximum(variance, 0)) * self._rng.standard_normal(mean.shape)
            found = gained(drawn, self._points, self._lowest)
        else:
            found = gain(mean, variance, self._points, self._lowest)
        found = found * self._region.chance(mean, variance)
        for process, (low, high) in zip(self._costs, self._region.limits.values(), strict=True):
            if process is not None:
                cost, spread = process.predict(self._encoding.inputs(settings))
                found = found * between(cost[:, 0], spread[:, 0], low, high)
        return found

    def _known(self, level: int | None) -> tuple[Array, Array]:
        if level not in self._at_level:
            self._at_level[level] = self._model.known(self._every, level)
        return self._at_level[level]

    def _cost(self, place: int, fits: Fits) -> GP | None:
        """The process of a limited metric; None while too few whole trainings have measured it."""
        measured = self._rows.limited[:, place]
        at = np.flatnonzero(~np.isnan(measured))
        if len(at) < FEWEST:
            return None
        x, y = self._rows.inputs[at], measured[at][:, None]
        hyper = fits.of_values(("limit", place), x, y, self._rows.orders[at, -1])
        kept = evenly(len(at), self._options.fit_points)
        return GP(x[kept], y[kept], hyper)

    def _within(self, done: Places) -> NDArray[np.bool_]:
        """Which of the finished trials keep to the limits of metrics that are no objectives, as far as they were measured."""
        within = np.ones(len(done), dtype=np.bool_)
        for place, (low, high) in enumerate(self._region.limits.values()):
            measured = self._rows.limited[done, place]
            within &= ~((measured < low) | (measured > high))
        return within


def _some(rows: Rows, state: int, most: int, remembered: Remembered) -> Places:
    """Rows of a state; of very many the best at the rung that each came to, and some of the others."""
    at = np.flatnonzero(rows.states == state)
    if len(at) <= most:
        return at

    def best(reached: Places, last: Array) -> Places:
        return thinned(-_before(reached, last)[:, None], most)

    return at[remembered.of((state, most), best, *_last(rows, at, state))]


def _last(rows: Rows, at: Places, state: int) -> tuple[Places, Array]:
    """The rung that trials of a state came to [n], and what each measured there, better when smaller [n, m]."""
    reached = rows.reached[at] if state == PAUSED else np.full(len(at), rows.values.shape[1] - 1)
    last = -rows.values[at, reached]
    last[np.isnan(last)] = np.inf
    return reached, last


def _before(reached: Places, last: Array) -> Array:
    """[n] the share of its rung that each has before it, by the number of its front."""
    share = np.zeros(len(reached))
    for rung in np.unique(reached):
        here = reached == rung
        share[here] = ranks(last[here]) / here.sum()
    return share
