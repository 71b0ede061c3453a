"""Cheap looks at settings: what one is of a trial, what it costs, and how far what it says can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from robustray.errors import UserError
from robustray.trial import TrialConfig
from sweeps.agreement import error_without_order, kendall
from sweeps.search.field import Curve
from sweeps.space import Sweep
from sweeps.space.fidelity import Fidelity

LOOK: Final = 0.0
"""The share of training that is done with a look: the rung that stands first in a field of which looks are taken."""
FEWEST, MOST = 8, 512
"""Pairs that an agreement is told from: at first, and at most."""
USUAL = 0.5
"""Kendall's tau from which on a rung orders trials as well as halving needs: epochs of digits had .3 (2/9) to .7 (1/2)."""
_PLACES, _LEAST = 4, 0.0001  # decimals of a look's cost: it is written down, and added up exactly


class Looks:
    """The looks of a sweep."""

    def __init__(self, sweep: Sweep, fidelity: Fidelity) -> None:
        """Args: fidelity: the sweep's."""
        self.fidelity = fidelity
        self._judge = sweep.judge
        self._images: tuple[int, int] | None = None

    def config(self, trial: TrialConfig) -> TrialConfig:
        """The training that is a look at a trial."""
        return self.fidelity.look(trial)

    def cost(self, trial: TrialConfig) -> float:
        """What a look at a trial costs, as a share of its whole training: passes through the network, validations included.

        Raises:
            UserError: as much as the training, or more.
        """
        from robustray.training.passes import of_training  # torch

        if self._images is None:
            self._images = len(self._judge.data.load("train")), len(self._judge.lists()[1])
        train, tune = self._images
        look, whole = (of_training(each, train=train, tune=tune) for each in (self.config(trial), trial))
        share = float(round(look / whole, _PLACES))
        if share >= 1:
            told = f"a look at {self.fidelity.described()} takes {look:,} passes, the training itself {whole:,}"
            raise UserError(f"fidelity: {told}; look at less")
        return max(share, _LEAST)


class Trust:
    """Which share of looks is worth a training, by how looks have ordered those that were trained.

    share = 1/eta + (1 - 1/eta) (1 - clip(tau, 0, 1)), tau Kendall's between looks and what is known best of whole trainings,
    the mean over objectives; over the first 8, 16, 32 ... trainings in the order in which they ended, all that there are of
    these numbers, at most 512. Before there are 8, tau is taken to be 1. What it rests on is in the record: the same share is
    found after a kill.
    """

    def __init__(self, objectives: Mapping[str, str]) -> None:
        self._objectives = tuple(objectives)
        self._pairs: dict[int, Curve] = {}
        self._tau: float | None = None
        self._n = 0  # pairs that it was told from

    def look(self, curve: Curve) -> None:
        """Takes in a trial."""
        if self._pairs.get(curve.number) is curve:
            return
        if self._both(curve) is not None:
            self._pairs[curve.number] = curve
            self._tau = None
        elif self._pairs.pop(curve.number, None) is not None:  # it was judged, and is no longer to be trusted
            self._tau = None

    @property
    def pairs(self) -> Sequence[Curve]:
        """The trials that the agreement is told from."""
        count = min(len(self._pairs), MOST)
        if count < FEWEST:
            return ()
        ended = sorted(self._pairs.values(), key=lambda curve: (curve.rungs[-1].order, curve.number))
        return ended[: FEWEST << ((count // FEWEST).bit_length() - 1)]

    @property
    def tau(self) -> float:
        """The agreement in [-1, 1]; 1 before anything is known of it."""
        if self._tau is None:
            known = self.pairs
            self._n = len(known)
            both = [pair for curve in known if (pair := self._both(curve)) is not None]
            names = [name for name in self._objectives if all(name in one and name in other for one, other in both)]
            self._tau = float(np.mean([_tau(name, both) for name in names])) if both and names else 1.0
        return self._tau

    def share(self, eta: float) -> float:
        """Of looks, that is worth a training."""
        return 1 / eta + (1 - 1 / eta) * (1 - min(max(self.tau, 0.0), 1.0))

    def _both(self, curve: Curve) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
        """What a look measured, and what is known best of the whole training; None where there are not both."""
        return None if curve.look is None or curve.final is None else (curve.look.metrics, curve.final)


class Agreement(Trust):
    """Which share of an ordinary rung goes on, by how its cheap numbers have ordered trials that were judged in full.

    share = 1/eta + (1 - 1/eta) (1 - clip((tau + s) / 0.5, 0, 1)), tau Kendall's between the rung and the judge, the mean over
    the accuracies among the objectives, of trials as `Trust` has them; s = sqrt(2 (2 n + 5) / (9 n (n - 1))), its standard
    error where there is no order. Halving is made for rungs that order trials as well as epochs usually do, with a tau of 0.5
    and more, and few pairs seldom widen it by chance.
    """

    def __init__(self, objectives: Mapping[str, str], rung: int) -> None:
        """Args: rung: its index."""
        super().__init__(objectives)
        self._rung = rung

    def share(self, eta: float) -> float:
        tau, n = self.tau, self._n
        if not n:
            return 1 / eta
        return 1 / eta + (1 - 1 / eta) * (1 - min(max((tau + error_without_order(n)) / USUAL, 0.0), 1.0))

    def _both(self, curve: Curve) -> tuple[Mapping[str, float], Mapping[str, float]] | None:
        """What a rung before the end measured, and what the judge found."""
        if curve.judged is None:
            return None
        there = next((rung for rung in curve.rungs if rung.index == self._rung and rung.epoch < curve.epochs), None)
        return None if there is None else (there.metrics, curve.judged)


def _tau(name: str, pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]]) -> float:
    one, other = (np.array([pair[which][name] for pair in pairs]) for which in (0, 1))
    found = float(kendall(one, other, np.ones((1, len(pairs))))[0])
    return 0.0 if np.isnan(found) else found  # a constant orders nothing
