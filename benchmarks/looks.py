"""What cheap looks are worth on digits: a search with and without them, over a table of learning curves, at equal cost.

    python benchmarks/looks.py take 5 0           # looks of 5 epochs at every setting of the table, with its first seed
    python benchmarks/looks.py compare 5 0        # how looks order settings, and what searches come to

Looks are taken for real, and measured as a sweep measures them; trainings come from `tables/digits_one_cycle.parquet`. Costs
are counted in whole trainings, a look as the share of its training's passes that the sweep itself counts. Regret is scored as
`benchmarks/search.py` scores it, on test images and by the table's other seeds. `take` goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _curves import Timed
from _searches import curves
from scipy.stats import kendalltau

from robustray.errors import Diverged, NotFinite
from sweeps.record import Record
from sweeps.running.queues import Job
from sweeps.running.tasks.base import PAUSED, Report
from sweeps.search.controller import Controller
from sweeps.search.field import Policy
from sweeps.search.halving import ParetoHalving
from sweeps.search.listed import Listed
from sweeps.search.looks import Looks
from sweeps.search.race import Race
from sweeps.search.regret import Regrets
from sweeps.search.simulation import TableController, TabledStudy, Trainings, clocked
from sweeps.search.tabled import Curves, Tabled
from sweeps.space import Sweep
from sweeps.space.fidelity import Fidelity
from sweeps.space.stopping import Stopping

TABLE = Path(__file__).parent / "tables" / "digits_one_cycle.parquet"
HERE = Path(__file__).parent.parent / "results" / "looks"
WORKERS, SWEEPS, BUDGETS = 4, 24, (8, 16, 32)
"""Trainings at a time; searches of each kind; whole trainings that each may pay."""
Look = Mapping[str, float]


def fidelity(epochs: int) -> Fidelity:
    """Looks of so many of 27 epochs, by the cheapest attacks."""
    return Fidelity(epochs=epochs, attack_steps=1, cheap_steps=2)


def kept(epochs: int, seed: int) -> Path:
    """Where looks lie, a line for each setting."""
    return HERE / f"digits_one_cycle-{epochs}-{seed}.jsonl"


def taken(epochs: int, seed: int) -> dict[int, Look]:
    """Looks that there are, by the place of their setting; empty for one that diverged."""
    path = kept(epochs, seed)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {each["place"]: each["look"] for each in map(json.loads, lines)}


def take(epochs: int, seed: int) -> None:
    """Takes the looks that are missing."""
    sweep, known = curves(str(TABLE), "all")
    there, looks = taken(epochs, seed), Looks(sweep, fidelity(epochs))
    HERE.mkdir(parents=True, exist_ok=True)
    for place, params in enumerate(known.settings):
        if place in there:
            continue
        trial = sweep.trial_config(params).model_copy(update={"seed": seed})
        found: dict[str, float] = {}
        with tempfile.TemporaryDirectory() as folder:
            try:
                report = Timed(looks.config(trial), Path(folder), device="cpu").run()
                found = {name: float(report[name]) for name in sweep.objectives}
            except (Diverged, NotFinite):
                pass
        line = json.dumps({"place": place, "look": found, "cost": looks.cost(trial)})
        with kept(epochs, seed).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Looking(Trainings):
    """Answers from the table, and of looks from those that were taken."""

    def __init__(self, world: Tabled, record: Record, listed: Listed, looks: Mapping[int, Look]) -> None:
        super().__init__(world, record, listed)
        self._looks = looks

    def __call__(self, job: Job) -> Iterator[tuple[float, Report]]:
        trial = self._record.trial(job.number)
        if not trial.looking:
            yield from super().__call__(job)
            return
        place = self._listed.place(trial.params)
        whole = self._world.piece(place, 0, self._world.epochs[-1]).seconds
        seconds, look = trial.looked * whole, self._looks[place]
        told: Report = {"place": place, "epoch": 1, "training_iteration": 1, "cost_seconds": seconds, "done": True}
        yield seconds, {**told, **look, "outcome": PAUSED if look else "diverged"}  # no training has ended


@cache
def world(epochs: int, seed: int) -> tuple[Sweep, Curves, dict[int, Look]]:
    """The table as far as there are looks, and these by place."""
    sweep, known = curves(str(TABLE), "all")
    looks = taken(epochs, seed)
    there = sorted(looks)
    part = replace(
        known,
        settings=[known.settings[place] for place in there],
        seconds=known.seconds[there],
        seen=known.seen[there],
        final=known.final[there],
    )
    return sweep, part, {at: looks[place] for at, place in enumerate(there)}


def policy(name: str, sweep: Sweep, listed: Listed) -> Policy | None:
    """A policy over the table's settings."""
    if name == "none":
        return None
    return ParetoHalving() if name == "pareto_halving" else Race(sweep.space, sweep.ask, encoding=listed)


def search(name: str, epochs: int, seed: int, number: int, budget: int, *, with_looks: bool) -> list[float]:
    """One search: its regret at the end, and how many trials it began and finished."""
    base, known, looks = world(epochs, seed)
    sampler = "auto" if name == "race" else "tpe"
    options = base.search.model_copy(update={"seed": number, "trials": 4 * budget, "sampler": sampler})
    sweep = base.model_copy(
        update={
            "search": options,
            "stopping": Stopping(name=name),
            "fidelity": fidelity(epochs) if with_looks else None,
        }
    )
    sweep.__dict__.pop("trials", None)  # kept from the table's own space
    table = Tabled(sweep, known, seed)
    with tempfile.TemporaryDirectory() as folder, Record(Path(folder), sweep.objectives) as record:
        listed = Listed(sweep.space, sweep.ask, table.settings)
        controller: Controller = TableController(
            sweep, record, policy(name, sweep, listed), lambda event: None, session=""
        )
        controller.study = TabledStudy(sweep, record, listed)
        trace = clocked(controller, table, Looking(table, record, listed, looks), workers=WORKERS, budget=budget)
    finished = trace.finished
    return [float(Regrets.of(table.truth, finished).judged[-1]), trace.started, len(finished)]


def compare(epochs: int, seed: int, names: Sequence[str]) -> None:
    """Prints the agreement of looks with whole trainings, and every kind of search at every budget."""
    sweep, known, looks = world(epochs, seed)
    costs = [json.loads(line)["cost"] for line in kept(epochs, seed).read_text(encoding="utf-8").splitlines()]
    there = [place for place, look in looks.items() if look and not np.isnan(known.final[place]).any()]
    others = [each for each in range(known.seeds) if each != seed]
    final = known.final[:, others].mean(1)
    at = {epoch: place for place, epoch in enumerate(known.epochs)}
    print(f"{len(looks)} looks of {epochs} epochs, {np.mean(costs):.3f} of a training each (in the mean)")
    for column, name in enumerate(sweep.objectives):
        look = kendalltau([looks[place][name] for place in there], final[there, column]).statistic
        rungs = ", ".join(
            f"epoch {epoch} {kendalltau(known.seen[there, seed, at[epoch], column], final[there, column]).statistic:.2f}"
            for epoch in (6, 13, 27)
        )
        print(f"Kendall's tau of {name} with test, other seeds: look {look:.2f}; on the way {rungs}")
    rows: list[Any] = []
    for budget in BUDGETS:
        for name in names:
            for with_looks in (False, True) if name != "none" else (False,):
                found = np.array([search(name, epochs, seed, n, budget, with_looks=with_looks) for n in range(SWEEPS)])
                low, middle, high = np.quantile(found[:, 0], [0.25, 0.5, 0.75])
                label = f"{name}{' with looks' if with_looks else ''}"
                started, ended = found[:, 1:].mean(0)
                counts = f"{started:.0f} begun, {ended:.0f} ended"
                print(f"{budget:3} {label:28} regret {middle:.3f} ({low:.3f} to {high:.3f})  {counts}", flush=True)
                rows.append([budget, label, *found[:, 0].tolist()])
    (HERE / f"compared-{epochs}-{seed}.json").write_text(json.dumps(rows) + "\n", encoding="utf-8")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["take", "compare"])
    parser.add_argument("epochs", type=int, help="of a look; of 27")
    parser.add_argument("seed", type=int, help="of the table, which a search meets")
    parser.add_argument("--policies", default="none,pareto_halving,race", help="those to compare, with commas")
    asked = parser.parse_args()
    if asked.what == "take":
        take(asked.epochs, asked.seed)
    else:
        compare(asked.epochs, asked.seed, asked.policies.split(","))


if __name__ == "__main__":
    main()
