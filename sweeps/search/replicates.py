"""Which setting of a search is trained with another seed next: kept up trial by trial, however many there are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from sweeps.frontier import mean, minimised
from sweeps.record import Record, TrialRecord
from sweeps.search import replicating
from sweeps.standing import SELECTION, TEST, known, trusted


class Replicates:
    """Settings as far as their trials have ended. `look` takes in what is new of a trial: no other setting is looked at again.

    A setting counts that has a trial which has completed, and that may be on a frontier: no derived points, none that is
    flagged or misses a constraint.
    """

    def __init__(self, record: Record, wanted: int) -> None:
        """Reads the record. Args: wanted: seeds of a setting near the frontier; 0: nothing is ever trained again."""
        self.wanted = wanted
        self._record = record
        self._objectives = dict(record.objectives)
        self._trials: defaultdict[int, list[int]] = defaultdict(list)  # by setting, its first trial
        self._again: set[int] = set()  # replicates that were begun
        self._values = np.zeros((64, len(self._objectives)))  # by setting: the exact mean over its seeds
        self._seeds = np.zeros(64, np.int64)  # that have values; 0 of a setting that does not count
        self._begun = np.zeros(64, np.int64)  # at work and failed ones too: one that fails again is not tried for ever
        self._spread: dict[int, tuple[np.ndarray[tuple[int, ...], np.dtype[np.float64]], int]] = {}
        for trial in record.trials() if wanted else ():
            self.look(trial.number)

    def look(self, number: int) -> None:
        """Takes in what the record has of a trial by now."""
        if not self.wanted:
            return
        trial = self._record.trial(number)
        if trial.origin == "replicate":
            self._again.add(number)
        setting = trial.setting
        numbers = self._trials[setting]
        if number not in numbers:
            numbers.append(number)
        if setting >= len(self._seeds):
            more = max(setting + 1, 2 * len(self._seeds)) - len(self._seeds)
            self._values = np.pad(self._values, ((0, more), (0, 0)))
            self._seeds, self._begun = np.pad(self._seeds, (0, more)), np.pad(self._begun, (0, more))
        trials = [self._record.trial(each) for each in sorted(numbers)]
        complete = [values for each in trials if (values := self._of(each)) is not None]
        flagged = {each.number for each in trials if self._flagged(each.number)}
        counts = bool(complete) and trials[0].origin != "derived" and trusted(trials, flagged)
        self._seeds[setting] = len(complete) if counts else 0
        self._begun[setting] = len(trials)
        if counts:
            self._values[setting] = minimised([mean(complete, self._objectives)], self._objectives)[0]
        if len(trials) > 1 and len(complete) > 1:
            self._spread[setting] = replicating.squares(complete, self._objectives), len(complete) - 1
        else:
            self._spread.pop(setting, None)

    def next(self, *, spent: float, budget: float, seed: int) -> int | None:
        """The setting to train with another seed now, by its first trial; None where a new setting is to be tried.

        Of those that are near the frontier and have fewer seeds than wanted, the one with the fewest; among these the one that
        is most probably non-dominated.

        Args:
            spent, budget: as `replicating.due` has them.
            seed: of the draws.
        """
        if not self.wanted or not replicating.due(len(self._again), spent=spent, budget=budget):
            return None
        at = np.flatnonzero(self._seeds)
        found = replicating.chances(self._values[at], self._seeds[at], self._sd(), seed=seed)
        near = (found >= replicating.NEAR) & (self._begun[at] < self.wanted)
        order = np.lexsort((at[near], -found[near], self._begun[at][near]))
        return int(at[near][order[0]]) if len(order) else None

    def _sd(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """[m] of one seed. Sums run in the order of settings, so they are the same however the trials ended."""
        squares, freedom = np.zeros(len(self._objectives)), 0
        for setting in sorted(self._spread):
            own, count = self._spread[setting]
            squares += own
            freedom += count
        return replicating.seed_sd(squares, freedom, self._objectives)

    def _of(self, trial: TrialRecord) -> Mapping[str, float] | None:
        """The objectives of a complete trial as they are known best."""
        if trial.outcome != "complete":
            return None
        record, number = self._record, trial.number
        found = known(trial, record.judged(number, SELECTION), record.skipped(number), record.reached(number)).values
        values = {name: found.get(name, math.nan) for name in self._objectives}
        return values if all(map(math.isfinite, values.values())) else None

    def _flagged(self, number: int) -> bool:
        """Whether its numbers cannot be trusted, on either split."""
        judged = (self._record.judged(number, split) for split in (SELECTION, TEST))
        return any(each is not None and each.flags for each in judged)
