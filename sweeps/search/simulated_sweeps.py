"""Searches over a table beside each other: the same space with other policies and samplers, each in several sweeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from robustray.errors import UserError, nearest
from robustray.options.yaml import show
from sweeps.search import replicating
from sweeps.search.field import Policy
from sweeps.search.listed import Listed
from sweeps.search.regret import Regrets
from sweeps.search.simulation import Trace, simulate
from sweeps.search.stopping import policy
from sweeps.search.tabled import Curves, Tabled
from sweeps.search.tables import Table
from sweeps.space import Sweep
from sweeps.space.searching import Search
from sweeps.space.stopping import BEFORE, Stopping

POLICIES = (*get_args(Stopping.model_fields["name"].annotation), BEFORE)
SAMPLERS = get_args(Search.model_fields["sampler"].annotation)


@dataclass(frozen=True)
class Variant:
    """One way to search a table."""

    name: str  # policy and sampler
    sweep: Sweep
    curves: Curves

    @property
    def described(self) -> str:
        """The table in a few words."""
        seeds = f"{self.curves.seeds} seeds" if self.curves.seeds > 1 else "1 seed"
        world = self.world(0)
        members = len(world.truth.members)
        seeds += f" of which a sweep meets {world.met}" if world.met > 1 else ""
        return f"{len(self.curves.settings)} settings, {seeds}, a frontier of {members}"

    def world(self, seed: int) -> Tabled:
        """What a search meets of the table, and the truth that it does not. Args: seed: of the table's."""
        return Tabled(self.sweep, self.curves, seed, replicating.asked(self.sweep))


@dataclass(frozen=True)
class Once:
    """One sweep."""

    seed: int
    trace: Trace
    whole: float  # seconds of a whole training
    regrets: Regrets


@dataclass(frozen=True)
class Searched:
    """All sweeps of a variant.

    Attributes:
        budget: whole trainings.
    """

    name: str
    budget: float
    sweeps: Sequence[Once]

    def regret(self, share: float) -> float:
        """The median when a share of the budget had been paid."""
        costs = np.array([share * self.budget])
        return float(np.median([each.regrets.at(costs * each.whole)[0] for each in self.sweeps]))

    def selected(self) -> float:
        """The median at the ends of the sweeps, of what looks best."""
        return float(np.median([each.regrets.selected[-1] for each in self.sweeps]))

    def quartiles(self) -> tuple[float, float]:
        """Of the sweeps at their ends."""
        low, high = np.quantile([each.regrets.judged[-1] for each in self.sweeps], [0.25, 0.75])
        return float(low), float(high)

    def counts(self) -> tuple[float, float]:
        """Trials that were started, and that were trained to their end, in the mean."""
        started = float(np.mean([each.trace.started for each in self.sweeps]))
        return started, float(np.mean([len(each.trace.finished) for each in self.sweeps]))

    def unfinished(self) -> float:
        """The share of what was paid that went into trials which were not trained to their end, in the mean."""
        return float(np.mean([each.trace.unfinished / (each.trace.paid or 1.0) for each in self.sweeps]))

    def plain(self) -> dict[str, Any]:
        """As JSON has it; costs in whole trainings."""
        return {
            "search": self.name,
            "budget": self.budget,
            "sweeps": [
                {
                    "seed": each.seed,
                    "started": each.trace.started,
                    "paid": each.trace.paid / each.whole,
                    "unfinished": each.trace.unfinished / each.whole,
                    "costs": (each.regrets.costs / each.whole).tolist(),
                    "settings": [trial.setting for trial in each.trace.finished],
                    "regrets": each.regrets.judged.tolist(),
                    "regrets_selected": each.regrets.selected.tolist(),
                }
                for each in self.sweeps
            ],
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each trial that was trained to its end."""
        for each in self.sweeps:
            for at, trial in enumerate(each.trace.finished, 1):
                yield {
                    "search": self.name,
                    "sweep": each.seed,
                    "cost": trial.cost / each.whole,
                    "setting": trial.setting,
                    "regret": float(each.regrets.judged[at]),
                    "regret_selected": float(each.regrets.selected[at]),
                }


def variants(
    table: Path,
    space: Path | None,
    overrides: Sequence[str],
    *,
    policies: Sequence[str | None],
    samplers: Sequence[str | None],
    say: Callable[[str], None] = lambda line: None,
) -> list[Variant]:
    """The space with every policy and sampler that is asked for, None standing for its own; those that go together.

    Args:
        say: is told of those that do not go together, while others do.

    Raises:
        UserError: table or space cannot be read, a policy or a sampler is none, or no two of them go together.
    """
    for option, words, known in (("policy", policies, POLICIES), ("sampler", samplers, SAMPLERS)):
        for word in words:
            if word is not None and word not in known:
                raise UserError(f"--{option}: {show(word)} is none; {nearest(word, known)}")
    path = space or table.with_suffix(".yaml")
    if not table.is_file():
        raise UserError(f"{table}: no such file")
    if not path.is_file():
        raise UserError(f"{path}: no such file; name the table's space after it")
    curves: Curves | None = None
    found, wrong, apart = [], None, []
    for stopping in policies:
        for sampler in samplers:
            more = [f"stopping={stopping}"] if stopping else []
            more += [f"search.sampler={sampler}"] if sampler else []
            if sampler is None and stopping is not None:  # whatever the space says goes with its own policy
                more.append("search.sampler=auto")
            try:
                sweep = Sweep.from_yaml(path, overrides=[*overrides, *more]).settled()
                if sweep.search.warm_start:
                    raise UserError(f"{path}: search.warm_start is not for searches over a table; leave it out")
            except UserError as error:
                wrong = error
                apart.append(f"{stopping or 'its own policy'}, {sampler or 'its own sampler'}: left out: {error}")
                continue
            if curves is None:
                curves = Curves.of(Table.read(table, sweep), list(sweep.objectives))
            _same_length(table, curves, path, sweep)
            blind = "" if sweep.fidelity is None else ", without looks"  # a table has none
            sweep = sweep.model_copy(update={"fidelity": None})
            found.append(Variant(f"{sweep.stopping.name}, {_sampler(sweep)}{blind}", sweep, curves))
    if not found and wrong is not None:
        raise wrong
    for line in apart:
        say(line)
    return found


def _same_length(table: Path, curves: Curves, path: Path, sweep: Sweep) -> None:
    """Sees whether trainings of the space are as long as those of the table: rungs are shares of them.

    Raises:
        UserError: they are not.
    """
    own, there = sorted({trial.schedule.epochs for trial in sweep.examples()}), curves.epochs[-1]
    if own != [there]:
        said = str(own[0]) if len(own) == 1 else f"{own[0]} to {own[-1]}"
        raise UserError(
            f"{path}: trial.schedule.epochs: is {said}, but trainings of {table} have {there} epochs; write {there}"
        )


def searched(variant: Variant, *, workers: int, sweeps: int) -> Searched:
    """Sweeps with seeds from that of the space on; each meets another seed of the table."""
    done = []
    for number in range(sweeps):
        search = variant.sweep.search.model_copy(update={"seed": variant.sweep.search.seed + number})
        sweep = variant.sweep.model_copy(update={"search": search})
        world = variant.world(number)
        trace = simulate(sweep, world, chosen, workers=workers)
        done.append(Once(search.seed, trace, world.whole, Regrets.of(world.truth, trace.finished)))
    return Searched(variant.name, float(variant.sweep.trials), done)


def chosen(sweep: Sweep, listed: Listed) -> Policy | None:
    """The policy that a space asks for, over settings of a table."""
    return policy(sweep, listed)


def _sampler(sweep: Sweep) -> str:
    return "its own model" if sweep.search.sampler == "auto" else sweep.search.sampler
