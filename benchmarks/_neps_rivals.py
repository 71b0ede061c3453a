"""MO-ASHA and PriMO as NePS has them, asked and told."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from _rivals import Work, epoch_at

from sweeps.search.listed import Listed
from sweeps.search.tabled import Tabled
from sweeps.space import Sweep


class Neps:
    """An optimiser of NePS, asked and told: MO-ASHA, and PriMO. NePS knows no conditions: every option is always drawn."""

    def __init__(
        self,
        sweep: Sweep,
        world: Tabled,
        seed: int,
        *,
        name: str,
        first: float,
        prior: str = "flat",
        mended: bool = False,
    ) -> None:
        """Args: name: moasha or primo. first: share of training of the lowest rung. prior: flat, or right.
        mended: with ASHA's rule in the place of its own.
        """
        import neps
        import torch
        from neps.optimizers.ask_and_tell import AskAndTell

        warnings.filterwarnings("ignore")
        np.random.seed(seed)  # noqa: NPY002 (what it draws from)
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        self.sweep, self.world = sweep, world
        self.listed = Listed(sweep.space, sweep.ask, world.settings)
        self._numbers: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._trials: dict[int, Any] = {}
        whole = world.epochs[-1]
        options: dict[str, Any] = {_flat(parameter.name): _of_neps(neps, parameter) for parameter in sweep.space}
        options["epoch"] = neps.HPOInteger(max(epoch_at(world, first), 1), whole, is_fidelity=True)
        self._names = {_flat(parameter.name): parameter for parameter in sweep.space}
        space = neps.SearchSpace(options)
        if name == "moasha":
            self.optimiser = neps.algorithms.moasha(space)
            if mended:
                self.optimiser.create_brackets = partial(_promoting(), **self.optimiser.create_brackets.keywords)
            self._bracket = self.optimiser
        else:
            centres = self._centres() if prior == "right" else {}
            sure = {own: dict.fromkeys(centre, 0.75) for own, centre in centres.items()}
            self.optimiser = neps.algorithms.primo(space, prior_centers=centres, prior_confidences=sure)
            self._bracket = self.optimiser.bracket_optimizer
        self.loop = AskAndTell(self._numbered)
        self._reached: dict[str, int] = {}

    def _centres(self) -> dict[str, dict[str, Any]]:
        """For each objective the best setting that there is: what an expert knows who has seen the answer."""
        truth = self.world.truth.values
        found = {}
        for at, name in enumerate(self.world.objectives):
            best = self.world.settings[int(np.nanargmax(truth[:, at]))]
            found[name] = {own: _told(each, best.get(each.name, _middle(each))) for own, each in self._names.items()}
        return found

    def ask(self) -> Work | None:
        if not self.listed.left.any():
            return None
        trial = self._ask()
        key = trial.id.split("_rung_")[0]
        until = self._epoch(trial.config["epoch"])
        if key not in self._places:
            drawn = {
                self._names[own].name: _drawn(self._names[own], value)
                for own, value in trial.config.items()
                if own != "epoch"
            }
            chosen = self.sweep.ask(lambda parameter: drawn[parameter.name])
            self._places[key] = place = self.listed.nearest(chosen)
            self.listed.take(place)
            self._numbers[key] = len(self._numbers)
            got = self.world.settings[place]
            was = {own: _told(each, got.get(each.name)) for own, each in self._names.items()}
            trial.config = {**trial.config, **{own: value for own, value in was.items() if value is not None}}
        work = Work(self._numbers[key], self._places[key], self._reached.get(key, 0), until)
        self._trials[work.number] = (trial, key)
        return work

    def _numbered(self, trials: Any, budget: Any, count: Any) -> Any:
        """What the optimiser wants; PriMO's own numbers come again while a trial of that number is at work."""
        sampled = self.optimiser(trials, budget, count)
        return sampled if "_rung_" in sampled.id else replace(sampled, id=str(self._new()))

    def _new(self) -> int:
        return 1 + max((int(own.split("_")[0]) for own in self.loop.trials), default=0)

    def _ask(self) -> Any:
        try:
            return self.loop.ask()
        except ValueError as error:  # NePS 0.17 ranks a rung of which nothing has ended yet, and breaks
            if "at least one array" not in str(error):
                raise
        from neps.optimizers.optimizer import SampledConfig

        bracket = self._bracket
        config = {**bracket.sampler.sample_config(to=bracket.encoder), "epoch": bracket.rung_to_fid[0]}
        first = SampledConfig(id=f"{self._new()}_rung_0", config=config)
        self.loop.optimizer = lambda *_: first
        try:
            return self.loop.ask()
        finally:
            self.loop.optimizer = self._numbered

    def _epoch(self, wanted: float) -> int:
        return next(epoch for epoch in self.world.epochs if epoch >= wanted)

    def look(self, work: Work, epoch: int, values: Mapping[str, float]) -> bool:
        return False

    def tell(self, work: Work, values: Mapping[str, float] | None) -> None:
        trial, key = self._trials[work.number]
        self._reached[key] = work.until
        gains = (0.0,) * len(self.world.objectives) if values is None else self.world.gains(values)
        self.loop.tell(trial, {"objective_to_minimize": [1.0 - gain for gain in gains], "cost": 1.0})


def _promoting() -> Any:
    """Makes NePS' bracket with the rule that ASHA has: whoever is among the best floor(n / eta) of the n trials of a rung goes
    on, if it has not yet (Li et al., MLSys 2020, algorithm 2; Schmucker et al., 2021, algorithm 2).

    NePS 0.17 (`optimizers/utils/brackets.py`, `Async.next`) takes those that went on out of the rung first, and then the best
    floor(m / eta) of the m that are left, pending ones counted. So of any three that wait one goes on, then of the two that are
    left and a new one the next, and so on: in the end all of a rung but two. The seed of the order inside a front is fixed as
    well: drawn anew at every asking, it lets more of a front than floor(n / eta) go on.
    """
    import numpy as np
    from neps.optimizers.utils import brackets
    from neps.optimizers.utils.multiobjective.epsnet import nondominated_sort

    class Promoting(brackets.Async):  # type: ignore[misc, name-defined, unused-ignore]
        def next(self) -> Any:
            for lower, upper in reversed(list(pairwise(self.rungs))):
                ended = lower.table.dropna(subset=["perf"])
                if not (most := len(ended) // self.eta):
                    continue
                gone = set(upper.config_ids)
                for at in nondominated_sort(np.vstack(ended["perf"].values), dim=0, max_items=most):
                    number, _ = ended.index[at]
                    if number not in gone:
                        return brackets.PromoteAction(dict(ended.iloc[at]["config"]), number, upper.value)
            return brackets.SampleAction(self.rungs[0].value)

    return Promoting.create


def _flat(name: str) -> str:
    return name.replace(".", "_")


def _by_index(parameter: Any) -> bool:
    """Whether NePS draws the place of a value among its steps: it has no steps but of 1."""
    return bool(parameter.distribution.kind == "stepped")


def _drawn(parameter: Any, value: Any) -> Any:
    """What NePS drew as the space has it."""
    plain = value.item() if isinstance(value, np.generic) else value
    return parameter.distribution.nth(int(plain)) if _by_index(parameter) else plain


def _told(parameter: Any, value: Any) -> Any:
    """A value of the space as NePS has it."""
    own = parameter.distribution
    return round((value - own.low) / own.step) if _by_index(parameter) and value is not None else value


def _middle(parameter: Any) -> Any:
    own = parameter.distribution
    if own.kind == "choice":
        return own.choices[0]
    if own.kind not in ("loguniform", "logint"):
        return own.at(0.5)
    middle = math.sqrt(own.low * own.high)
    return round(middle) if own.is_int else middle


def _of_neps(neps: Any, parameter: Any) -> Any:
    """A parameter as NePS has it."""
    own = parameter.distribution
    if own.kind == "choice":
        return neps.HPOCategorical(list(own.choices))
    log = own.kind in ("loguniform", "logint")
    if _by_index(parameter):
        return neps.HPOInteger(0, int(own.count) - 1)
    return neps.HPOInteger(own.low, own.high, log=log) if own.is_int else neps.HPOFloat(own.low, own.high, log=log)
