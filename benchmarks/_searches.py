"""One search over a table, by name: ours through the controller, others through their queues. Also a program of its own:

    PYTHON benchmarks/_searches.py        a task in JSON from each line of input, what came of it on a line of output

so that rivals run in an environment that has their packages.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.search.field import Policy
from sweeps.search.listed import Listed
from sweeps.search.priors import Prior
from sweeps.search.simulation import Chosen, Trace, clocked, simulate
from sweeps.search.tabled import Curves, Tabled
from sweeps.search.tables import Table
from sweeps.space import Sweep
from sweeps.space.stopping import RUNGS

WORKERS = 4
BUDGET = 60
"""Whole trainings of a search; its `search.trials` is a third more, since cheap settings take less than their share."""
TABLES = Path(__file__).parent / "tables"
HERE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Task:
    """One sweep."""

    table: str  # a file
    settings: str  # of the table: all, even, odd, or fitted0, fitted1 ...: dense ones of networks of that seed
    search: str  # its name
    number: int  # of the sweep: all its random choices come from it, and which seed of the table it meets
    registry: str = ""  # a checkout of optunahub-registry

    @property
    def budget(self) -> int:
        """Whole trainings; of a table that has few settings, less, or a search would try them all."""
        return min(BUDGET, len(curves(self.table, self.settings)[1].settings) // 5)


def run(task: Task) -> dict[str, Any]:
    """What a sweep finished, with the seconds that it took here."""
    begun = time.perf_counter()
    sweep, met = world(task)
    trace = SEARCHES.get(task.search, _rival)(task, sweep, met)
    finished = [[each.cost / met.whole, each.setting, *each.seen] for each in trace.finished]
    return {
        **key(task),
        "started": trace.started,
        "paid": trace.paid / met.whole,
        "finished": finished,
        "seconds": round(time.perf_counter() - begun, 2),
    }


def key(task: Task) -> dict[str, Any]:
    """What a result is kept under: a table or a policy that has changed is another one."""
    return {
        "table": Path(task.table).stem,
        "settings": task.settings,
        "search": task.search,
        "number": task.number,
        "of": _digest(Path(task.table)) + (_digest_of_ours() if task.search in SEARCHES else ""),
    }


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@cache
def _digest_of_ours() -> str:
    """Of the files that our searches are made of: policies, and who asks them."""
    found = hashlib.sha256(repr(RUNGS).encode())
    for path in sorted((HERE / "sweeps/search").rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:12]


@cache
def curves(table: str, settings: str) -> tuple[Sweep, Curves]:
    """A table, or every other setting of it."""
    sweep = Sweep.from_yaml(Path(table).with_suffix(".yaml"))
    found = Curves.of(Table.read(table, sweep), list(sweep.objectives))
    if settings.startswith("fitted"):
        from _fitted import fitted

        return sweep, fitted(sweep, found, int(settings.removeprefix("fitted")), HERE / "build")
    if settings == "all":
        return sweep, found
    keep = slice(0 if settings == "even" else 1, None, 2)
    return sweep, replace(
        found,
        settings=found.settings[keep],
        seconds=found.seconds[keep],
        seen=found.seen[keep],
        final=found.final[keep],
    )


def world(task: Task) -> tuple[Sweep, Tabled]:
    """Its space, and what it meets."""
    sweep, known = curves(task.table, task.settings)
    return sweep, Tabled(sweep, known, task.number, MET.get(task.search, 1))


def _rival(task: Task, sweep: Sweep, world: Tabled) -> Trace:
    from _rivals import Rivals, makers

    queue = Rivals(
        makers(Path(task.registry) if task.registry else None)[task.search](sweep, world, task.number), world
    )
    return clocked(queue, world, queue.answers, workers=WORKERS, budget=task.budget)


PRIORS: dict[tuple[str, str], dict[str, float]] = {
    ("digits_one_cycle", "right"): {"schedule.lr": 0.2, "threat.eps": 0.18},
    ("digits_one_cycle", "wrong"): {"schedule.lr": 0.05, "threat.eps": 0.02},
    ("digits_constant", "right"): {"schedule.lr": 0.16, "threat.eps": 0.16},
    ("digits_constant", "wrong"): {"schedule.lr": 1.2, "threat.eps": 0.02},
}
"""By table: values in the middle of those of the frontier's members, and at the end of the range away from most of them."""


def ours(
    policy: Chosen,
    *,
    sampler: str,
    stopping: Mapping[str, Any],
    share: float = 4 / 3,
    prior: str = "",
    **search: Any,
) -> Callable[[Task, Sweep, Tabled], Trace]:
    """A search through the controller. Nothing is tried first but what it chooses, as its rivals have it.

    Args:
        share: `search.trials` as a share of the budget.
        stopping: as a space file has it.
        prior: whether options have priors, and which: right or wrong.
        search: more of `search`. With `first: published` the defaults of each defense are tried first, as users have it.
    """

    def searched(task: Task, sweep: Sweep, world: Tabled) -> Trace:
        plain = sweep.resolved()
        for name, value in PRIORS[Path(task.table).stem, prior].items() if prior else ():
            part, option = name.split(".")
            plain["trial"][part][option]["prior"] = value
        usual = {"sampler": sampler, "trials": int(task.budget * share), "seed": task.number, "first": "none"}
        own = Sweep.model_validate({**plain, "search": usual | search, "stopping": dict(stopping)})
        return simulate(own, world, policy, workers=WORKERS, budget=task.budget)

    return searched


def told(task: Task) -> Tabled:
    """The world of a task where every look, however early, tells the truth: what the other seeds come to in the mean, without
    noise, on images that no search sees. What is reached in it no rule of stopping can reach by better predictions.
    """
    sweep, known = curves(task.table, task.settings)
    others = [(task.number + more) % known.seeds for more in range(1, known.seeds)]
    truth = known.final[:, others].mean(axis=1)[:, None, None, :]
    return Tabled(sweep, replace(known, seen=np.where(np.isnan(known.seen), np.nan, truth)), task.number)


def oracle(rung: float) -> Callable[[Task, Sweep, Tabled], Trace]:
    """The race with one rung, at which it is told the truth."""
    search = race((rung,))
    return lambda task, sweep, world: search(task, sweep, told(task))


def race(
    rungs: tuple[float, ...] | None = None,
    share: float = 4 / 3,
    prior: str = "",
    search: Mapping[str, Any] | None = None,
    **options: Any,
) -> Callable[[Task, Sweep, Tabled], Trace]:
    """The race, with other options than it has."""

    def policy(sweep: Sweep, listed: Listed) -> Policy:
        from sweeps.search.race import Race, RaceOptions

        return Race(
            sweep.space,
            sweep.ask,
            options=RaceOptions(**options),
            prior=Prior(sweep.space) if prior else None,
            encoding=listed,
        )

    stopping = {"name": "race", **({} if rungs is None else {"rungs": list(rungs)})}
    return ours(policy, sampler="auto", stopping=stopping, share=share, prior=prior, **(search or {}))


def halving(sampler: str, eta: float, rungs: tuple[float, ...] | None = None) -> Callable[[Task, Sweep, Tabled], Trace]:
    """Halving by non-dominated rank, with a sampler of Optuna's."""

    def policy(sweep: Sweep, listed: Listed) -> Policy:
        from sweeps.search.halving import ParetoHalving

        return ParetoHalving(eta=eta)

    stopping = {"name": "pareto_halving", "eta": eta, **({} if rungs is None else {"rungs": list(rungs)})}
    return ours(policy, sampler=sampler, stopping=stopping)


SEARCHES: dict[str, Callable[[Task, Sweep, Tabled], Trace]] = {
    "race": race(),
    "race published": race(search={"first": "published"}),
    "race once": race(search={"replicates": 0}),
    "race replicated": race(search={"replicates": 2}),
    "race that ends": race(share=0.75),
    "race that ends anyhow": race(share=0.75, finish_last=False),
    "race 2/9 1/2": race((2 / 9, 1 / 2)),
    "race 2/9 1/2 random 0.25": race((2 / 9, 1 / 2), random_share=0.25),
    "race 1/9 1/3": race((1 / 9, 1 / 3)),
    "race 2/9": race((2 / 9,)),
    "race 1/3": race((1 / 3,)),
    "race start 4": race(start=4),
    "race whole 4": race(whole_first=4),
    "race whole 8": race(whole_first=8),
    "race explore 4": race(explore=4.0),
    "race explore 4 random 0.25": race(explore=4.0, random_share=0.25),
    "race explore 16": race(explore=16.0),
    "race 1/9 2/9 1/2": race((1 / 9, 2 / 9, 1 / 2)),
    "race 1/3 2/3": race((1 / 3, 2 / 3)),
    "race random 0.05": race(random_share=0.05),
    "race random 0": race(random_share=0.0),
    "race 2/3": race((2 / 3,)),
    "race 1/2 3/4": race((1 / 2, 3 / 4)),
    "race start 5": race(start=5),
    "race cost 1.5": race(cost_power=1.5),
    "race cost 0.5": race(cost_power=0.5),
    "race more candidates": race(candidates=600, mutations=600, refinements=400),
    "race no guard": race(guard=0),
    "race 1/3 1/2": race((1 / 3, 1 / 2)),
    "race 2/9 1/3 1/2 2/3": race((2 / 9, 1 / 3, 1 / 2, 2 / 3)),
    "race own values": race(own_values=True),
    "race thompson": race(thompson=True),
    "race random horizon": race(random_horizon=True),
    "race no pausing": race(pausing=False),
    "race random 0.25": race(random_share=0.25),
    "race random 0.5": race(random_share=0.5),
    "race cost 0": race(cost_power=0.0),
    "race start 16": race(start=16),
    "race prior right": race(prior="right"),
    "race prior wrong": race(prior="wrong"),
    "race prior right, untested": race(prior="right", prior_trials=inf),
    "race prior wrong, untested": race(prior="wrong", prior_trials=inf),
    "race few candidates": race(candidates=60, mutations=60, refinements=40),
    "race told the truth at 1/2": oracle(1 / 2),
    "race told the truth at 2/9": oracle(2 / 9),
    "race told the truth at 1/9": oracle(1 / 9),
    "halving tpe": halving("tpe", 3),
    "halving tpe 1/9 1/3": halving("tpe", 3, (1 / 9, 1 / 3)),
    "halving tpe eta 2": halving("tpe", 2),
    "halving random": halving("random", 3),
}
"""Ours, by name."""
MET = {"race once": 2, "race replicated": 2}
"""Seeds of a setting that a search may meet, where they are more than one: fewer are left for the truth."""


def main() -> None:
    np.seterr(all="ignore")
    for line in sys.stdin:
        task = Task(**json.loads(line))
        try:
            told = run(task)
        except Exception as error:  # one sweep that fails must not end the others
            told = {**asdict(task), "error": f"{type(error).__name__}: {error}"}
        print("RESULT " + json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
