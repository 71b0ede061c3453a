"""How far a search is from the best frontier there is, and what it had cost when it came that far.

Only where the truth is known of every setting: in a table of learning curves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import undominated

BELOW = 0.1
"""How far below the worst of the frontier the reference point lies, as a share of the frontier's range."""


@dataclass(frozen=True)
class Truth:
    """What every setting is worth.

    Attributes:
        values: [settings, objectives], better when larger; a row with a nan is of a setting that came to nothing.
        reference: [objectives] the worst of the frontier less `BELOW` of its range: at better than that gains begin.
        best: hypervolume of all settings.
    """

    values: NDArray[np.float64]
    reference: NDArray[np.float64]
    best: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Truth:
        """The truth of settings with these values, [settings, objectives], better when larger.

        Raises:
            ValueError: no setting came to anything.
        """
        front = values[undominated(-values)]
        if not len(front):
            raise ValueError("no setting came to its end")
        worst, span = front.min(axis=0), front.max(axis=0) - front.min(axis=0)
        reference = worst - BELOW * np.where(span > 0, span, 1.0)
        return cls(values, reference, hypervolume(values, reference))

    @property
    def members(self) -> NDArray[np.intp]:
        """Settings that no other dominates."""
        return np.flatnonzero(undominated(-self.values))

    def regret(self, settings: Sequence[int]) -> float:
        """The share of the best hypervolume that these settings lack: 0 with the whole frontier, 1 with nothing of it."""
        found = hypervolume(self.values[np.asarray(settings, dtype=np.intp)], self.reference)
        return max(0.0, 1.0 - found / self.best)


def hypervolume(values: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Of [n, m] values, better when larger; rows with a nan add nothing."""
    known = values[~np.isnan(values).any(axis=1)]
    return float(moocore.hypervolume(-known, ref=-reference)) if len(known) else 0.0


@dataclass(frozen=True)
class Finished:
    """A trial that was trained to its end."""

    cost: float  # paid by all workers together until then
    setting: int
    seen: tuple[float, ...]  # what the search was told, better when larger


@dataclass(frozen=True)
class Regrets:
    """Two steps of a search's regret, each [n + 1] with the regret from `costs[i]` on; 1 before anything was found.

    Attributes:
        costs: [n + 1] rising, 0 first.
        judged: where every finished trial is judged.
        selected: where those are that no other dominates, by what the search was told, in the mean over a setting's trainings.
    """

    costs: NDArray[np.float64]
    judged: NDArray[np.float64]
    selected: NDArray[np.float64]

    @classmethod
    def of(cls, truth: Truth, trials: Iterable[Finished]) -> Regrets:
        """Those of a search that finished these trials."""
        costs, judged, selected = [0.0], [1.0], [1.0]
        best: list[int] = []  # by what was told, in the mean over the trainings of a setting
        told: dict[int, list[tuple[float, ...]]] = {}
        true: list[int] = []  # by what is true: others add nothing
        for trial in sorted(trials, key=lambda each: each.cost):
            true = _kept(truth.values, [*true, trial.setting])
            again = trial.setting in told
            told.setdefault(trial.setting, []).append(trial.seen)
            best = _front(told, [*told] if again else [*best, trial.setting])  # a new mean may uncover others
            costs.append(trial.cost)
            judged.append(truth.regret(true))
            selected.append(truth.regret(best))
        return cls(np.array(costs), np.array(judged), np.array(selected))

    def at(self, costs: NDArray[np.float64], *, selected: bool = False) -> NDArray[np.float64]:
        """[k] the regret when so much had been paid."""
        steps = self.selected if selected else self.judged
        return steps[np.searchsorted(self.costs, costs, side="right") - 1]


def _kept(values: NDArray[np.float64], settings: list[int]) -> list[int]:
    keep = undominated(-values[settings])
    return [setting for setting, kept in zip(settings, keep.tolist(), strict=True) if kept]


def _front(told: Mapping[int, Sequence[tuple[float, ...]]], settings: list[int]) -> list[int]:
    keep = undominated(-np.array([np.mean(told[setting], axis=0) for setting in settings]))
    return [setting for setting, kept in zip(settings, keep.tolist(), strict=True) if kept]


@dataclass(frozen=True)
class Reached:
    """What a search had paid when its median regret came to a goal.

    Attributes:
        cost: inf where it never came there.
        low, high: 95 % of bootstrap resamples lie between them.
    """

    cost: float
    low: float
    high: float


def cost_to(
    regrets: NDArray[np.float64],
    goal: NDArray[np.float64],
    costs: NDArray[np.float64],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Reached:
    """The first cost at which the median regret of a search is no more than the median of another's final ones.

    Args:
        regrets: [sweeps, k] at each cost. goal: [sweeps of the other] final regrets. costs: [k] rising.
        resamples: of the bootstrap, which draws sweeps of both anew.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        _first(
            regrets[rng.integers(len(regrets), size=len(regrets))], goal[rng.integers(len(goal), size=len(goal))], costs
        )
        for _ in range(resamples)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975], method="nearest")
    return Reached(_first(regrets, goal, costs), float(low), float(high))


def _first(regrets: NDArray[np.float64], goal: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
    there = np.median(regrets, axis=0) <= np.median(goal)
    return float(costs[np.argmax(there)]) if there.any() else float("inf")
