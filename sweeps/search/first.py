"""What is tried before the sampler is asked, and in its place: settings picked by hand, priors, published defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from optuna.samplers import BaseSampler

from robustray.errors import UserError
from robustray.seeding import derive
from sweeps.record import Record
from sweeps.search.priors import Prior
from sweeps.search.sampling import Fixed
from sweeps.space import Sweep

POINTS = "first points"
"""The setting of the record that holds what is tried first, decided as the sweep begins."""
SHARE, HALF = 0.5, 10
"""How often the prior is drawn from in place of the sampler when nothing has ended, and after how many trials half as often."""
_DEFENSE = ("defense", "defense.name")


class First:
    """Points for the first trials of a search, and draws from its priors later on."""

    def __init__(self, sweep: Sweep, record: Record) -> None:
        """Reads the record; what is to be tried first is written down as the sweep begins, and stays as it was.

        A sweep that had trials before anything of the kind was written down has none.
        """
        self.sweep = sweep
        self.record = record
        self.prior = Prior(sweep.space)
        begun = record.trials() or record.setting(POINTS) is not None
        wanted = None if begun else points(sweep)
        self._points: list[dict[str, Any]] = (record.setting(POINTS, wanted or None)) or []

    def point(self, number: int) -> Mapping[str, object] | None:
        """The setting of the number-th sampled trial, None where the search is free to choose it."""
        return self._points[number] if number < len(self._points) else None

    def samplers(self, number: int, known: int) -> Iterator[BaseSampler]:
        """Whom to ask before the sampler: the prior, by chance, with probability SHARE HALF / (HALF + known).

        Chance and draw derive from the search's seed and the number, so that a resumed search asks the same. Trials that ended
        count, and not those that were begun: many at once bring no evidence of each other.

        Args:
            number: how many trials were sampled before. known: of how many trials it is known what they came to.
        """
        if self.prior and self.sweep.search.sampler != "grid":
            rng = np.random.default_rng(derive(self.sweep.search.seed, "prior", number))
            if rng.random() < SHARE * HALF / (HALF + known):
                yield Fixed(self.prior.draw(rng))


def points(sweep: Sweep) -> list[dict[str, object]]:
    """What a sweep tries first, in order, each once: points picked by hand, the mode of the priors, published defaults.

    Published is, for each defense that the space chooses among, the setting of defaults: see `Sweep.completed`. Those of
    which no trial can be built are left out.
    """
    if sweep.search.sampler == "grid":
        return []
    wanted: list[dict[str, object]] = [sweep.completed(point) for point in sweep.search.chosen]
    automatic: list[dict[str, object]] = []
    if Prior(sweep.space):
        automatic.append(sweep.completed({}))
    if sweep.search.first == "published" and sweep.space:
        automatic += [sweep.completed(defense) for defense in _defenses(sweep)]
    for point in automatic:
        if point not in wanted and _built(sweep, point):
            wanted.append(point)
    return wanted[: sweep.trials]


def _defenses(sweep: Sweep) -> list[dict[str, object]]:
    for parameter in sweep.space:
        if parameter.name in _DEFENSE and parameter.distribution.kind == "choice":
            return [{parameter.name: label} for label in parameter.distribution.choices]
    return [{}]


def _built(sweep: Sweep, point: Mapping[str, object]) -> bool:
    try:
        sweep.trial_config(point)
    except UserError:
        return False
    return True
