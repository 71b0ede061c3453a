"""Where settings stand: kept from one frame of the view to the next, and placed anew where something has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.measures.metrics import ACCURACIES
from sweeps.frontier import mean, minimised, undominated
from sweeps.record import Judged, Skipped, TrialRecord
from sweeps.standing import SELECTION, TEST, known, trusted
from sweeps.view.activity import Standing

Key = tuple[int, str]  # trial and split


@dataclass(frozen=True)
class Place:
    """Where a setting stands: a trial, or the mean over trials with the same options and different seeds."""

    numbers: tuple[int, ...]  # its trials
    values: Mapping[str, float]  # accuracies, and the sweep's objectives
    judged: bool  # else by the cheap attack, and by what the judge has broken so far
    fit: bool  # for the frontier: no trial is flagged, infeasible or skipped, and every objective is known
    params: Mapping[str, Any]
    tested: Mapping[str, float]  # accuracies on test; empty before it was read


class Places:
    """The settings of which a trial is complete."""

    def __init__(self, objectives: Mapping[str, str]) -> None:
        """Args: objectives: of the sweep."""
        self._objectives = dict(objectives)
        self._names = (*ACCURACIES, *(name for name in objectives if name not in ACCURACIES))
        self._complete: dict[int, set[int]] = {}  # trials by setting
        self._places: dict[int, Place] = {}
        # The same by the setting's number, for what looks at all of them; nan where there is nothing.
        self._accuracies = np.empty((0, len(ACCURACIES)))
        self._judged = np.empty((0, len(self._objectives)))  # to be minimised, of those that fit; also the next
        self._cheap = np.empty((0, len(self._objectives)))
        self._stale = True
        self._frontier: tuple[Place, ...] = ()
        self._others = self._accuracies

    @property
    def frontier(self) -> tuple[Place, ...]:
        """What is judged and not dominated by anything judged, and what may yet join it; the highest clean accuracy first.

        A cheap number is an upper bound in spirit, so it pushes nothing out that was judged.
        """
        self._find()
        return self._frontier

    @property
    def others(self) -> NDArray[np.float64]:
        """[n, 2] clean and robust accuracy of the settings that are not on the frontier, where both are known."""
        self._find()
        return self._others

    def update(
        self,
        changed: Iterable[int],
        trials: Mapping[int, TrialRecord],
        judged: Mapping[Key, Judged],
        skipped: Mapping[int, Skipped],
        standing: Mapping[Key, Standing],
    ) -> None:
        """Places settings anew.

        Args:
            changed: trials of which something is new below.
            trials, judged, skipped: the whole record.
            standing: how far judgements are that are under way.
        """
        settings = set[int]()
        for number in set(changed) & trials.keys():
            setting = trials[number].setting
            settings.add(setting)
            complete = self._complete.setdefault(setting, set())
            (complete.add if trials[number].outcome == "complete" else complete.discard)(number)
        self._make_room(1 + max(settings, default=-1))
        for setting in settings:
            self._put(
                setting, [trials[number] for number in sorted(self._complete[setting])], judged, skipped, standing
            )
        self._stale = self._stale or bool(settings)

    def _put(
        self,
        setting: int,
        trials: Sequence[TrialRecord],
        judged: Mapping[Key, Judged],
        skipped: Mapping[int, Skipped],
        standing: Mapping[Key, Standing],
    ) -> None:
        for column in (self._accuracies, self._judged, self._cheap):
            column[setting] = np.nan
        self._places.pop(setting, None)
        values = [
            known(trial, judged.get(key), skipped.get(trial.number), so_far=_so_far(standing.get(key))).values
            for trial in trials
            if (key := (trial.number, SELECTION))
        ]
        names = [name for name in self._names if all(name in each for each in values)]
        if not trials or not names:
            return
        on_test = [found for trial in trials if (found := judged.get((trial.number, TEST))) is not None]
        on_selection = [judged.get((trial.number, SELECTION)) for trial in trials]
        tested = [{name: float(getattr(found, name)) for name in ACCURACIES} for found in on_test]
        flagged = {
            trial.number for trial in trials for split in (SELECTION, TEST) if _flags(judged, trial.number, split)
        }
        fit = trusted(trials, flagged) and not any(trial.number in skipped for trial in trials)
        place = self._places[setting] = Place(
            numbers=tuple(trial.number for trial in trials),
            values=mean(values, dict.fromkeys(names, "max")),
            judged=None not in on_selection,
            fit=fit and all(name in names for name in self._objectives),
            params=trials[0].params,
            tested=mean(tested, dict.fromkeys(ACCURACIES, "max")) if tested else {},
        )
        self._accuracies[setting] = [place.values.get(name, np.nan) for name in ACCURACIES]
        if place.fit:
            (self._judged if place.judged else self._cheap)[setting] = minimised([place.values], self._objectives)[0]

    def _find(self) -> None:
        if not self._stale:
            return
        both = np.where(np.isnan(self._judged), self._cheap, self._judged)
        leading = undominated(self._judged) | (undominated(both) & ~np.isnan(self._cheap).any(axis=1))
        front = [self._places[setting] for setting in np.flatnonzero(leading).tolist()]
        clean, robust = ACCURACIES
        front.sort(key=lambda place: (-place.values.get(clean, 0.0), place.values.get(robust, 0.0), place.numbers))
        self._frontier = tuple(front)
        self._others = self._accuracies[~leading & ~np.isnan(self._accuracies).any(axis=1)]
        self._stale = False

    def _make_room(self, rows: int) -> None:
        if rows > len(self._accuracies):
            rows = max(rows, 2 * len(self._accuracies))
            self._accuracies, self._judged, self._cheap = (
                np.concatenate([column, np.full((rows - len(column), column.shape[1]), np.nan)])
                for column in (self._accuracies, self._judged, self._cheap)
            )


def _so_far(standing: Standing | None) -> float | None:
    return None if standing is None or not standing.images else standing.standing / standing.images


def _flags(judged: Mapping[Key, Judged], number: int, split: str) -> tuple[str, ...]:
    found = judged.get((number, split))
    return found.flags if found is not None else ()
