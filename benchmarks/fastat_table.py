"""Tables of learning curves from the published runs of the FastAT Benchmark (Pan and Yao, 2026, arXiv:2604.22853).

    python benchmarks/fastat_table.py RUNS.jsonl --out results/tables

RUNS.jsonl has an object per run: data, method, seed, seconds, percentages `clean` and `autoattack` on test, and shares of
validation images after every epoch, `val_clean` and `val_pgd` (raw weights), `avg_val_clean` and `avg_val_pgd` (averaged ones).
Of every data set there come `fastat_DATA.parquet` and `fastat_DATA.yaml`, the space, whose one option is the method.

What the tables say, and do not:

- Epochs are shares of a run: 2, 4, ... 100, of a run of 50 epochs each of them. Seconds are the run's, in proportion.
- Robust accuracy is by PGD on validation, by AutoAttack on test: they are apart by 2 to 34 points.
- On test there is the end alone: of averaged weights, at the epoch that was best on validation. `pgd_at` was not averaged: its
  curves and its end are in the columns of raw weights, those of averaged ones are empty.
- Nothing was trained here, and the space trains none of it: it names the methods, to search among.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from robustray.errors import UserError
from robustray.files import write_whole
from sweeps.search.table_files import read_rows, write_rows
from sweeps.search.tables import Table

EPOCHS = 100
NEEDED = (
    "data",
    "method",
    "seed",
    "seconds",
    "clean",
    "autoattack",
    "val_clean",
    "val_pgd",
    "avg_val_clean",
    "avg_val_pgd",
)
CURVES = {
    "validation_raw_clean_accuracy": "val_clean",
    "validation_raw_robust_accuracy": "val_pgd",
    "validation_averaged_clean_accuracy": "avg_val_clean",
    "validation_averaged_robust_accuracy": "avg_val_pgd",
}


def tables(path: Path, out: Path) -> list[Table]:
    """Writes and reads the tables of a file of runs, one per data set.

    Raises:
        UserError: the file is not there, or a run is not what it must be.
    """
    runs, _ = read_rows(path)
    for number, run in enumerate(runs, 1):
        if wrong := _wrong(run):
            raise UserError(f"{path}:{number}: {wrong}")
    return [
        _table([run for run in runs if run["data"] == data], data, out)
        for data in sorted({run["data"] for run in runs})
    ]


def rows(run: Mapping[str, Any], setting: int) -> list[dict[str, Any]]:
    """The rows of a run."""
    epochs = len(run["val_clean"])
    found = []
    for epoch in range(2, EPOCHS + 1, 2):
        done = epoch * epochs // EPOCHS
        row = {"setting": setting, "seed": run["seed"], "epoch": epoch, "epochs": EPOCHS, "defense": run["method"]}
        row |= {"seconds": run["seconds"] * epoch / EPOCHS, "outcome": "complete"}
        row |= {column: run[curve][done - 1] for column, curve in CURVES.items() if run[curve]}
        found.append(row)
    weights = "averaged" if run["avg_val_clean"] else "raw"
    found[-1] |= {f"test_{weights}_clean_accuracy": run["clean"] / 100}
    found[-1] |= {f"test_{weights}_robust_accuracy": run["autoattack"] / 100}
    return found


def _table(runs: Sequence[Mapping[str, Any]], data: str, out: Path) -> Table:
    methods = sorted({run["method"] for run in runs})
    name = f"fastat_{data}"
    space = {
        "name": name,
        "description": "published methods by their names; nothing of it is trained",
        "judge": {"data": "digits", "threat": {"norm": "linf", "eps": "8/255"}},
        "trial": {
            "defense": {"choice": [{"label": method, "name": "adversarial"} for method in methods]},
            "schedule": {"epochs": EPOCHS},
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / f"{name}.yaml", yaml.safe_dump(space, sort_keys=False))
    about = {
        "name": name,
        "made_by": "benchmarks/fastat_table.py",
        "paper": "arXiv:2604.22853",
        "settings": len(methods),
    }
    every = [row for run in runs for row in rows(run, methods.index(run["method"]))]
    every.sort(key=lambda row: (row["setting"], row["seed"], row["epoch"]))
    write_rows(out / f"{name}.parquet", every, about)
    return Table.read(out / f"{name}.parquet")


def _wrong(run: Mapping[str, Any]) -> str:
    """What keeps a run from being rows; nothing where nothing does. What its numbers are, the table looks at."""
    for name in NEEDED:
        if name not in run:
            return f"has no {name}"
    curves = [run[curve] for curve in CURVES.values()]
    if not all(isinstance(curve, list) for curve in curves) or len(curves[0]) not in (EPOCHS, EPOCHS // 2):
        return f"curves must be lists of {EPOCHS} or {EPOCHS // 2} epochs"
    if any(len(curve) != len(curves[0]) for curve in curves[1:] if curve):
        return "curves must be of one length"
    numbers = [run["seconds"], run["clean"], run["autoattack"]]
    if not all(isinstance(number, int | float) for number in numbers):
        return "seconds, clean and autoattack must be numbers"
    return ""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the runs, JSON lines")
    parser.add_argument("--out", type=Path, default=Path("results/tables"), help="folder of the tables")
    options = parser.parse_args(arguments)
    try:
        for table in tables(options.runs, options.out):
            print(f"{table.path}: {len(table.settings)} methods, {len(table.seeds)} seeds")
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
