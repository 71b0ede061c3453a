"""What sweeps came to, in rows and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _bench import Bench
from _search_runs import Runs
from _searches import MET, Task, curves, world
from numpy.typing import NDArray

from sweeps.search.regret import Finished, Regrets, cost_to
from sweeps.search.tabled import Tabled

Array = NDArray[np.float64]
BASELINE = "optuna_tpe"
OURS = "race"
RIVALS = (
    "optuna_tpe",
    "random",
    "optuna_nsga2",
    "optuna_gp",
    "hub_pruner_50_0.22",
    "hub_pruner_50_0.11",
    "neps_moasha_9",
    "neps_moasha_9_mended",
    "syne_moasha_3",
    "neps_primo_flat",
    "neps_primo_right",
)
QUARTERS = (1 / 3, 0.5, 0.75, 1.0)
ENOUGH = 8
"""Sweeps of a rival, from which on it may be the best."""
SHARES = np.linspace(0, 1, 601)
"""Of the budget, at which regrets are looked at."""
Sweeps = list[tuple[Regrets, dict[str, float]]]


def regrets(runs: Runs, wanted: list[Task]) -> dict[tuple[str, int], dict[str, Sweeps]]:
    """By table and its budget, and by search: those of each sweep that was run, with what else it came to."""
    found: dict[tuple[str, int], dict[str, Sweeps]] = {}
    worlds: dict[tuple[str, str, int, int], Tabled] = {}
    for task in wanted:
        known = runs.get(task)
        if known is None:
            continue
        _, table = curves(task.table, task.settings)
        own = (task.table, task.settings, task.number % table.seeds, MET.get(task.search, 1))
        if own not in worlds:
            worlds[own] = world(task)[1]
        trials = [Finished(cost, int(place), tuple(seen)) for cost, place, *seen in known["finished"]]
        counts = {"started": known["started"], "finished": len(trials), "seconds": known["seconds"]}
        name = Path(task.table).stem + ("" if task.settings == "all" else f" ({task.settings})")
        found.setdefault((name, task.budget), {}).setdefault(task.search, []).append(
            (Regrets.of(worlds[own].truth, trials), counts)
        )
    return found


def judge(bench: Bench, table: str, budget: int, found: dict[str, Sweeps]) -> None:
    """Rows of all searches on a table, and the targets of ours."""
    steps = {
        selected: {
            name: np.array([each.at(budget * SHARES, selected=selected) for each, _ in sweeps])
            for name, sweeps in found.items()
        }
        for selected in (False, True)
    }
    costs: dict[str, float] = {}
    for name, sweeps in found.items():
        judged = steps[False][name]
        medians = np.median(judged, axis=0)
        case, many = f"{table} {name}", {"sweeps": len(sweeps)}
        counts = {key: round(float(np.mean([each[key] for _, each in sweeps])), 1) for key in sweeps[0][1]}
        for share in (0.25, *QUARTERS):
            quartiles = np.quantile(judged[:, _at(share)], [0.25, 0.75]).round(4).tolist()
            around = dict(zip(("lower_quartile", "upper_quartile"), quartiles, strict=True))
            bench.row(
                case, f"median regret at {share:.2f} of the budget", medians[_at(share)], **many, **counts, **around
            )
        bench.row(case, "median regret at the end, selected", float(np.median(steps[True][name][:, -1])), **many)
        for selected, word in ((False, ""), (True, ", selected")):
            if BASELINE in found:
                reached = cost_to(steps[selected][name], steps[selected][BASELINE][:, -1], SHARES)
                bench.row(
                    case, f"cost to TPE's final regret{word}", reached.cost,
                    low=round(reached.low, 3), high=round(reached.high, 3), **many,
                )  # fmt: skip
                if not selected:
                    costs[name] = reached.cost
                    if name == OURS:
                        bench.target(f"{table}: cost to TPE's final regret", reached.cost, 1 / 3)
                        bench.target(f"{table}: the same, that would do", reached.cost, 1 / 2)
                        bench.target(f"{table}: upper end of it", reached.high, 0.8)
        if "random" in found and name != "random":
            worst = _beyond_chance(judged, steps[False]["random"], 5 / budget)
            bench.row(case, "most that it is surely worse than random", worst, **many)
            if name == OURS:
                bench.target(f"{table}: surely worse than random", worst, 0.0)
    if OURS not in found or BASELINE not in found:
        return
    many = {name: len(sweeps) for name, sweeps in found.items()}
    others = [name for name in costs if name in RIVALS and name != BASELINE]  # which is the measure itself
    rivals = {name: min(costs[name], 1.0) for name in others if many[name] >= ENOUGH}
    if rivals:
        best = min(rivals, key=lambda name: rivals[name])
        bench.row(f"{table} {best}", "the best rival's cost to TPE's final regret", rivals[best])
        bench.target(f"{table}: cost beside the best rival's, {best}", costs[OURS] / rivals[best], 0.6)
    ours, plain = (np.median(steps[False][name], axis=0) for name in (OURS, BASELINE))
    above = sum(bool(ours[_at(share)] >= plain[_at(share)] and plain[_at(share)] > 0) for share in QUARTERS)
    bench.target(f"{table}: of 4 quarters from 1/3 on, above TPE's median", above, 0)


def _at(share: float) -> int:
    return round(share * (len(SHARES) - 1))


def _beyond_chance(own: Array, chance: Array, begin: float) -> float:
    """The highest lower end of 95 % of resamples of (median - random's median), from a share of the budget on."""
    rng = np.random.default_rng(0)
    late = slice(int(np.searchsorted(SHARES, begin)), None, 10)
    differences = [
        np.median(own[rng.integers(len(own), size=len(own))][:, late], axis=0)
        - np.median(chance[rng.integers(len(chance), size=len(chance))][:, late], axis=0)
        for _ in range(1000)
    ]
    return float(np.quantile(differences, 0.025, axis=0).max())
