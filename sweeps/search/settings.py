"""Which settings of a space were tried, and which were not: equal trials are not trained again."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping

from robustray.errors import UserError
from robustray.seeding import derive
from sweeps.record import Record
from sweeps.space import Sweep
from sweeps.space.templates import count, nth

LISTED = 10_000
"""Settings up to which a space is gone through one by one for one that was not tried."""
_FEW, _MANY = 10, 1000
"""How often chance is asked for one, where the space can be gone through afterwards and where it cannot."""


class Settings:
    """The settings that a record has trials of. Draws that differ in what nobody looks at are one setting."""

    def __init__(self, sweep: Sweep, record: Record) -> None:
        """Args: record: read when asked, so that a trial is known once it is issued."""
        self.sweep = sweep
        self.record = record
        self.exhausted = False
        """No setting is left, as far as `untried` has found. None ever comes back."""
        self._first: dict[str, int] = {}  # by what is trained: the first trial of it
        self._trials: Counter[int] = Counter()  # by that first trial: itself and its replicates
        self._seen = 0
        self._reached = 0  # of a grid: all before it were tried

    @property
    def listed(self) -> bool:
        """Whether there are so few settings that all can be gone through."""
        return count(self.sweep.settings) <= LISTED

    @property
    def chances(self) -> int:
        """How often to ask chance for a setting that was not tried."""
        return _FEW if self.listed else _MANY

    def __len__(self) -> int:
        self._look()
        return len(self._first)

    def tried(self, params: Mapping[str, object]) -> int | None:
        """The first trial of the setting that these values make, None where there is none."""
        self._look()
        return self._first.get(self._name(params))

    def untried(self, number: int) -> dict[str, object] | None:
        """A setting that was not tried; None where all were, or where there are too many to go through.

        Args:
            number: how many trials were sampled before; another one gives another setting.
        """
        if self.listed:
            every = int(count(self.sweep.settings))
            order = random.Random(derive(self.sweep.search.seed, "untried", number))  # noqa: S311
            for index in order.sample(range(every), every):
                params = nth(self.sweep.settings, index)
                if self.tried(params) is None:
                    return params
        self.exhausted = True
        return None

    def next_of_grid(self) -> dict[str, object] | None:
        """The first setting in the order of `nth` that was not tried; None where all were."""
        for index in range(self._reached, int(count(self.sweep.settings))):
            self._reached = index  # what was tried stays tried: the next look begins here
            params = nth(self.sweep.settings, index)
            if self.tried(params) is None:
                return params
        self.exhausted = True
        return None

    def fewest(self) -> int | None:
        """The setting of which there are the fewest trials, of those that can be built: the one to replicate."""
        self._look()
        built = {first: times for first, times in self._trials.items() if self._built(first)}
        return min(built, key=lambda first: (built[first], first), default=None)

    def replicate_seed(self, setting: int) -> int:
        """The training seed of the next replicate of a setting."""
        self._look()  # two in a row are two seeds
        own = self.sweep.trial_config(self.record.trial(setting).params).seed
        return derive(own, "replicate", self._trials[setting]) % 2**53

    def _built(self, number: int) -> bool:
        try:
            self.sweep.trial_config(self.record.trial(number).params)
        except UserError:
            return False
        return True

    def _look(self) -> None:
        """Takes in what was issued since the last look."""
        trials = self.record.trials()
        for trial in trials[self._seen :]:
            if trial.origin in ("derived", "lost"):
                continue
            if trial.replicate_of is None:
                self._trials[self._first.setdefault(self._name(trial.params), trial.number)] += 1
            else:
                self._trials[trial.replicate_of] += 1
        self._seen = len(trials)

    def _name(self, params: Mapping[str, object]) -> str:
        """What would be trained, in full; the values themselves where no trial can be built of them."""
        try:
            return self.sweep.trial_config(params).resolved().model_dump_json()
        except UserError:
            return json.dumps(params, sort_keys=True)
