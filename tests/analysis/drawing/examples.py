"""An example input of every figure, by `module.function`: tables as the product makes them, of the sweeps that tests share.

A new function that returns a figure needs an entry in `EXAMPLES`; `test_every_figure.py` finds it and says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from analysis import comparison, sheet
from analysis.collect import table
from analysis.curve import Curve
from analysis.frontiers import compared
from analysis.frontiers.figure import beneath
from analysis.papers.registry import EXHIBITS
from analysis.search.attainment import Repeats
from robustray.measures.metrics import ACCURACIES
from sweeps import record
from tests.analysis import made as the
from tests.analysis.papers.made import ROWS
from tests.analysis.test_toys import TABLES


@dataclass(frozen=True)
class Shared:
    """Sweeps for examples: `made`, with every kind of trial, and three small ones under `root`."""

    made: Path
    root: Path

    @cached_property
    def snapshot(self) -> record.Snapshot:
        """Of `made`."""
        return record.read(self.made)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Of `made`, with points that were derived."""
        return table(self.snapshot)

    @cached_property
    def compared(self) -> compared.Compared:
        """A search with two seeds, and another one."""
        first = the.sweep(self.root / "a", fix=False)
        shutil.copytree(first, self.root / "again")
        other = the.sweep(self.root / "b", fix=False, trials=8)
        for folder, seed, width in ((self.root / "again", 1, 2), (other, 0, 3)):
            told = yaml.safe_load((folder / "sweep.yaml").read_text())
            told["space"] |= {"name": folder.name, "search": {"seed": seed}}
            if folder == other:
                told["space"]["trial"]["model"] = {"name": "small_cnn", "width": width}
            (folder / "sweep.yaml").write_text(yaml.safe_dump(told))
        return compared.compare([first, self.root / "again", other], split="validation", resamples=5)


def _frontier(of: Shared) -> dict[str, Any]:
    judged = comparison.of_sweep(of.made, of.snapshot, of.table, "test")
    assert judged is not None
    return {"df": of.table, "title": "trades_beta", "threat": sheet.read(of.made).threat, "compared": judged.trials}


def _attacks(of: Shared) -> dict[str, Any]:
    models = comparison.read(of.made, of.snapshot, "validation")
    return {"models": models, "df": of.table}


def _curves(of: Shared) -> dict[str, Any]:
    curves = []
    for at, (name, split) in enumerate(
        (("0003", "train"), ("0003", "validation"), ("0007", "train"), ("0007", "validation"))
    ):
        epoch = np.arange(1, 31)
        value = 0.5 - 0.4 * np.exp(-epoch / (5 + at)) - 0.02 * at
        for measure, unit in (("robust_accuracy", "fraction"), ("flatness", "number")):
            about = {
                "name": name, "split": split, "measure": measure, "unit": unit,
                "threat": {"norm": "linf", "eps": 0.12}, "settings": {"name": measure, "steps": 10},
            }  # fmt: skip
            rows = pd.DataFrame({"epoch": epoch, "value": value, "low": value - 0.03, "high": value + 0.03})
            curves.append(Curve(about, rows))
    return {"curves": curves}


def _radii(of: Shared) -> dict[str, Any]:
    rows = [
        {"alpha": alpha, "form": "smoothing", "claims": claims, "radius": radius, "certified_accuracy": accuracy}
        for alpha in (0.5, 0.75, 0.9, 1.0)
        for claims, less in (("image", 0.0), ("all", 0.04))
        for radius in np.linspace(0, 1, 21).tolist()
        if (accuracy := 0.95 - 0.2 * alpha - 0.5 * radius / (0.5 + alpha) - less) >= 0
    ]
    return {"df": pd.DataFrame(rows), "title": "smoothed, 500 images of digits test, sigma 0.25"}


def _importance(of: Shared) -> dict[str, Any]:
    rows = []
    for target, fit in (("clean_accuracy", 0.9), ("robust_accuracy", 0.05), ("member", 0.6)):
        for at, option in enumerate(("defense", "defense.trades.beta", "schedule.lr", "model.activation")):
            share = 0.55 / (1 + at)
            ends = {f"{of_}{end}": share + sign * 0.08 for of_ in ("alone", "permuted") for end, sign in _ENDS}
            about = {"target": target, "option": f"option.{option}", "settings": 40, "conditional": at == 1}
            rows.append(about | {"alone": share, "permuted": share} | ends | {"fit": fit})
    return {"table": pd.DataFrame(rows)}


_ENDS = (("_low", -1), ("_high", 1))


def _repeats(of: Shared) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    fronts = {}
    for seed in range(5):
        clean = np.sort(rng.uniform(0.8, 0.95, 6))[::-1]
        fronts[f"seed {seed}"] = np.stack([clean, np.sort(0.3 + 2 * (0.95 - clean) - rng.uniform(0, 0.02))], axis=1)
    return {"repeats": Repeats(fronts, dict.fromkeys(ACCURACIES, "max"), "judged")}


def _toy(name: str) -> Callable[[Shared], dict[str, Any]]:
    return lambda of: {"tables": TABLES[name]}


def _measures(of: Shared) -> dict[str, Any]:
    return {"df": of.table.assign(lipschitz=np.linspace(1, 300, len(of.table)))}


def _exhibit(rows: Callable[[], pd.DataFrame]) -> Callable[[Shared], dict[str, Any]]:
    return lambda of: {"rows": rows()}


EXAMPLES: Mapping[str, Callable[[Shared], dict[str, Any]]] = {
    "analysis.attack_map.attack_map": _attacks,
    "analysis.certified.radius_figure": _radii,
    "analysis.curve.curve_figure": _curves,
    "analysis.figures.frontier_figure": _frontier,
    "analysis.frontiers.figure.cost_figure": lambda of: {"of": of.compared},
    "analysis.frontiers.figure.frontiers_figure": lambda of: {"of": of.compared, "below": beneath(["cifar10:linf"])},
    "analysis.marked.of_sweep": lambda of: {"folder": of.made, "trial": 2, "beneath": "cifar10:linf"},
    "analysis.option_figure.measure_figure": _measures,
    "analysis.option_figure.option_figure": lambda of: {"df": of.table},
    "analysis.search.attainment_figure.attainment_figure": _repeats,
    "analysis.search.importance_figure.importance_figure": _importance,
    **{f"{EXHIBITS[name].figure.__module__}.figure": _exhibit(rows) for name, rows in ROWS.items()},
    "analysis.toys.distances": _toy("separation"),
    "analysis.toys.lines": _toy("landscape"),
    "analysis.toys.neighbours": _toy("separation"),
    "analysis.toys.planes": _toy("landscape"),
    "analysis.toys.posterior": _toy("score"),
    "analysis.toys.snapshots": _toy("score"),
    "analysis.toys.spline_errors": _toy("splines"),
    "analysis.toys.staircase": _toy("splines"),
    "analysis.toys.traces": _toy("score"),
}
