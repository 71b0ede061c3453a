"""The race: whatever promises most hypervolume per second that it still takes runs next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from robustray.measures.metrics import is_share
from robustray.seeding import derive
from sweeps.search.field import Choice, Field, Nothing, Resume, Start
from sweeps.search.race import candidates
from sweeps.search.race.encoding import Ask, Encoding
from sweeps.search.race.model import Fits, Model
from sweeps.search.race.options import RaceOptions
from sweeps.search.race.outlook import Outlook
from sweeps.search.race.region import Region
from sweeps.search.race.rows import COMPLETE, PAUSED, RUNNING, Rows
from sweeps.space.distributions import Parameter

Array = NDArray[np.float64]
_MODE = 256  # draws among which the likeliest stands for a prior's mode


class Prior(Protocol):
    """What is believed of settings before anything was measured."""

    def log_density(self, params: Mapping[str, object]) -> float:
        """Of a setting; 0 at the mode, lower away from it."""
        ...

    def draw(self, rng: np.random.Generator) -> Mapping[str, object]:
        """A setting."""
        ...


class Race:
    """Freeze-thaw search of a frontier (after Swersky et al., 2014): every trial pauses at every rung; a free worker takes what
    has the largest expected hypervolume improvement per second of training that is left, be it a paused trial or a new setting.

    What it remembers between decisions only saves time: a new one decides the same of the same field.
    """

    def __init__(
        self,
        space: Sequence[Parameter],
        ask: Ask,
        *,
        options: RaceOptions | None = None,
        keep_paused: int | None = None,
        prior: Prior | None = None,
        encoding: Encoding | None = None,
    ) -> None:
        """Args:
        space: the parameters. ask: draws one setting, given a value for each parameter that it asks for (`Sweep.ask`).
        keep_paused: so many paused trials may go on, the others are given up. prior: of settings.
        encoding: of settings, where not all of the space can be had.
        """
        self.options = options or RaceOptions()
        self._encoding = encoding or Encoding(space, ask)
        self._keep_paused = keep_paused
        self._prior = prior
        self._fits = Fits(self.options.fit_points)
        self._rows: Rows | None = None
        self._rows_of: object = None
        self._outlook: tuple[object, Outlook] | None = None
        self._model: tuple[object, Model] | None = None

    def choose(self, field: Field) -> Choice:
        """The next piece of work: steps 1 to 4 of the race.

        1. Fewer than 8 trials: a random setting. 2. Paused trials score their gain per second left. 3. New settings, drawn and
        near the frontier, score theirs per second of a whole training. 4. The best paused trial goes on if it scores as much as
        the best new setting, or if less than a whole training is left; otherwise a trial begins, at random once in ten times.
        What could not come to its end in the time that is left is not weighed.
        """
        options, rows = self.options, self._read(field)
        rng = np.random.default_rng(derive(field.seed, "race", field.decisions))
        paused = np.flatnonzero(rows.states == PAUSED)
        whole = int((rows.states == COMPLETE).sum()) < options.whole_first
        if len(paused) and (whole or not options.pausing):
            return Resume(rows.number(int(paused[0])))
        if not len(rows) and self._prior is not None:
            return Start(self._mode(self._prior, rng))
        early = len(rows) < options.start and not (len(paused) and field.closing)
        if early or not rows.measured.any():
            return Start() if options.sampler_draws else self._at_random(rng, rows, paused)
        outlook = self._look(field, rows)
        level = int(rng.integers(len(field.rungs))) if options.random_horizon else None
        outlook.begin(rng, level, field.seconds)
        thawed, thawed_score = outlook.best_paused()
        last = options.finish_last and field.budget - field.spent < 1
        if thawed is not None and (last or self._stale(field, rows)):
            return Resume(thawed)
        drawn = self._drawn(rng)
        weight = self._prior_weight(outlook, drawn, len(rows))
        setting, score = candidates.best(
            self._encoding,
            rng,
            drawn,
            outlook.front,
            rows.tried,
            lambda some: self._score(outlook, some, weight),
            options,
        )
        if thawed is not None and thawed_score >= score:
            return Resume(thawed)
        if len(setting) and score == -np.inf:  # none would come to its end
            return Nothing() if thawed is None else Resume(thawed)
        if rng.random() < options.random_share or not len(setting):
            unknown = candidates.untried(self._encoding, drawn, rows.tried) if options.explore else drawn[:0]
            if len(unknown):
                best = int(outlook.score(unknown, options.explore).argmax())
                return Start(self._encoding.params(unknown[best]))
            return self._at_random(rng, rows, paused, outlook.fitting)
        return Start(self._encoding.params(setting[0]))

    def given_up(self, field: Field) -> Sequence[int]:
        """Paused trials beyond `keep_paused`, those of the lowest scores."""
        if self._keep_paused is None:
            return ()
        rows = self._read(field)
        paused = np.flatnonzero(rows.states == PAUSED)
        if len(paused) <= self._keep_paused or not rows.measured.any():
            return ()
        outlook = self._look(field, rows)
        outlook.begin(None, None)
        kept = set(outlook.paused_by_score()[: self._keep_paused])
        return [number for number in (rows.number(int(at)) for at in paused) if number not in kept]

    def places(self, field: Field) -> Mapping[int, str]:
        """How many of those that wait promise more than each, by their scores."""
        rows = self._read(field)
        waiting = int((rows.states == PAUSED).sum())
        if not waiting or not rows.measured.any():
            return {}
        outlook = self._look(field, rows)
        outlook.begin(None, None)
        found = {}
        for place, number in enumerate(outlook.paused_by_score()):
            found[number] = (
                f"{place} of the {waiting} that waited promised more" if place else "it was the next to go on"
            )
        return found

    def _read(self, field: Field) -> Rows:
        about = (dict(field.objectives), len(field.rungs), sorted(set(field.limits) - set(field.objectives)))
        if self._rows is None or self._rows_of != about:
            self._rows, self._rows_of = Rows(self._encoding, *about), about
        self._rows.update(field)
        return self._rows

    def _look(self, field: Field, rows: Rows) -> Outlook:
        about = (rows, rows.version, repr(field.limits))
        if self._outlook is None or self._outlook[0] != about:
            region = Region(field, _scales(field, rows))
            model = self._believed(rows, region.scales)
            self._outlook = about, Outlook(rows, model, region, self._encoding, self.options, self._fits)
        return self._outlook[1]

    def _believed(self, rows: Rows, scales: Array) -> Model:
        about = (rows, rows.evidence, scales.tobytes())
        if self._model is None or self._model[0] != about:
            self._model = about, Model(rows, self._encoding, scales, self.options, self._fits)
        return self._model[1]

    def _score(self, outlook: Outlook, settings: Array, weight: float) -> Array:
        scores = outlook.score(settings)
        if self._prior is not None and weight:
            beliefs = [self._prior.log_density(self._encoding.plain(row)) for row in settings]
            scores = scores * np.exp(np.array(beliefs) * weight)
        return scores

    def _prior_weight(self, outlook: Outlook, drawn: Array, n: int) -> float:
        """The power of the prior's density in a score at n trials: gamma / n, times how far what was measured bears it out."""
        options = self.options
        if self._prior is None:
            return 0.0
        return options.prior_weight / n * trust(outlook.score(drawn), len(drawn) // 4, n, options.prior_trials)

    def _drawn(self, rng: np.random.Generator) -> Array:
        """Settings by chance; a quarter by the prior, where there is one."""
        drawn = self._encoding.random(rng, self.options.candidates)
        if self._prior is not None:
            for at in range(len(drawn) // 4):
                drawn[at] = self._encoding.coordinates(self._prior.draw(rng))
            drawn[: len(drawn) // 4] = self._encoding.snapped(drawn[: len(drawn) // 4])
        return drawn

    def _at_random(
        self,
        rng: np.random.Generator,
        rows: Rows,
        paused: NDArray[np.int64],
        fitting: Callable[[Array], Array] = lambda settings: settings,
    ) -> Choice:
        found = candidates.at_random(self._encoding, rng, rows.tried, self.options.candidates, fitting)
        if len(found):
            return Start(self._encoding.params(found[0]))
        if len(paused):  # every setting was tried
            return Resume(rows.number(int(paused[0])))
        return Nothing() if (rows.states == RUNNING).any() else Start()

    def _mode(self, prior: Prior, rng: np.random.Generator) -> Mapping[str, object]:
        return max((prior.draw(rng) for _ in range(_MODE)), key=prior.log_density)

    def _stale(self, field: Field, rows: Rows) -> bool:
        """Whether something has to go on, that something finishes: see `RaceOptions.guard`."""
        every, last = self.options.guard, len(field.rungs) - 1
        if not every or field.decisions % every or ((rows.states == RUNNING) & (rows.until == last)).any():
            return False
        latest = np.sort(rows.orders[rows.orders >= 0], axis=None)[-every:]
        ends = rows.orders[rows.states == COMPLETE, last]
        return not np.isin(latest, ends).any()


def _scales(field: Field, rows: Rows) -> Array:
    """[m] the unit of each objective: 1 of shares, the range of what was measured of anything else."""
    scales = np.ones(len(field.objectives))
    for place, name in enumerate(field.objectives):
        if not is_share(name):
            scales[place] = np.ptp(rows.values[:, :, place][rows.measured]) or 1.0
    return scales


def trust(scores: Array, by_prior: int, n: int, strength: float) -> float:
    """How far a prior is believed at n trials: clip((k + n (2 A - 1)) / (k + n), 0, 1), A the share of pairs of a setting that
    was drawn from the prior and one that was not in which the first has the larger score, equal ones counting a half.

    So it is 1 before anything is known, goes towards 2 A - 1 where the model bears the prior out, and is 0 after k trials at
    the latest where it scores the prior's settings below all others.

    Args:
        scores: [m] of settings, without the prior. by_prior: so many, the first ones, were drawn from it. strength: k, in
            trials; infinite: it is always believed.
    """
    if not np.isfinite(strength) or not by_prior or by_prior == len(scores):
        return 1.0
    others = np.sort(scores[by_prior:])
    below = np.searchsorted(others, scores[:by_prior], side="left")
    up_to = np.searchsorted(others, scores[:by_prior], side="right")
    larger = float((below + up_to).mean()) / (2 * len(others))
    return min(max((strength + n * (2 * larger - 1)) / (strength + n), 0.0), 1.0)
