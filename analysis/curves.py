"""How a sweep came to its numbers: the epochs of its trials, and what was reached for what had been spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import collect
from analysis.volume import largest, volume
from robustray.errors import UserError
from robustray.measures.metrics import COSTS
from sweeps import record
from sweeps.record import points


def training_curves(folder: Path | str) -> pd.DataFrame:
    """A row per trial and epoch of a running or finished sweep, by number and epoch.

    Columns: `trial`, `epoch`, and what the trials' metrics.csv hold: `lr`, `loss` and its parts, after a validation
    `clean_accuracy` and `robust_accuracy` (fractions, by the cheap attack), `cost_seconds`, `cost_passes`. Missing is nan.

    Raises:
        UserError: there is no readable record in the folder, or a file of it is damaged.
    """
    folder = Path(folder)
    return epochs(folder, [trial.number for trial in record.read(folder).trials])


def epochs(folder: Path, numbers: Iterable[int]) -> pd.DataFrame:
    """The rows of `training_curves` for these trials."""
    parts = []
    for number in numbers:
        path = folder / "trials" / f"{number:04d}" / "metrics.csv"
        if path.exists():
            parts.append(_epochs(path).assign(trial=number))
    if not parts:
        return pd.DataFrame({"trial": pd.Series(dtype="int64"), "epoch": pd.Series(dtype="int64")})
    rows = pd.concat(parts, ignore_index=True).astype({"epoch": "int64"})
    return rows[["trial", "epoch", *rows.columns.drop(["trial", "epoch"])]]


def _epochs(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path)
    except ValueError:  # pandas' own errors are, and so is text that is no UTF-8
        rows = pd.DataFrame()
    if "epoch" not in rows:
        raise UserError(f"{path}: not the metrics of a trial; the trial writes them anew when it goes on")
    return rows


def hypervolume_curve(folder: Path | str) -> pd.DataFrame:
    """What a sweep had reached for what it had spent on training and deriving: a row per trial and point, as they ended.

    Columns: `trial`, `finished`, the costs of all trials so far (`cost_seconds`, `cost_device_hours`, `cost_passes`), and the
    `hypervolume` of the sweep's objectives (accuracies from 0, costs from the largest of the sweep's complete trials), on
    validation by the cheap attack, over the complete, feasible trials so far that no flag is on.

    Raises:
        UserError: there is no readable record in the folder.
    """
    snapshot = record.read(Path(folder))
    return reached(snapshot, collect.table(snapshot))


def reached(snapshot: record.Snapshot, df: pd.DataFrame) -> pd.DataFrame:
    """The rows of `hypervolume_curve`, from a record already read and the table that was made of it."""
    known = df.set_index("trial")
    ended = [trial for trial in snapshot.trials if trial.outcome is not None and trial.finished is not None]
    by_number = {trial.number: trial for trial in snapshot.trials}
    numbers = [trial.number for trial in sorted(ended, key=lambda trial: (trial.finished, trial.number))]
    rows = known.loc[numbers]
    fit, worst = counted(rows, snapshot.objectives), largest(rows, snapshot.objectives)
    signs = np.array([1 if mode == "max" else -1 for mode in snapshot.objectives.values()])
    better = signs * rows[list(snapshot.objectives)].to_numpy(dtype=float)
    standing, volumes, so_far = list[int](), list[float](), 0.0
    for at in range(len(rows)):
        if fit[at] and not (better[standing] >= better[at]).all(axis=1).any():  # else it adds nothing
            standing = [other for other in standing if not (better[at] >= better[other]).all()] + [at]
            so_far = volume(rows.iloc[standing], snapshot.objectives, worst)
        volumes.append(so_far)
    own = {name: [points.own_cost(by_number[n], by_number.__getitem__, name) for n in numbers] for name in COSTS}
    spent = pd.DataFrame(own).cumsum()
    finished = {trial.number: trial.finished for trial in ended}
    return pd.concat(
        [
            pd.DataFrame({"trial": numbers, "finished": [finished[number] for number in numbers]}),
            spent,
            pd.Series(volumes, name="hypervolume", dtype="float64"),
        ],
        axis=1,
    )


def counted(rows: pd.DataFrame, objectives: Mapping[str, str]) -> NDArray[np.bool_]:
    """Which trials count in what a search has reached: complete, feasible, without flags, with numbers in all objectives."""
    numbers = rows[list(objectives)].notna().all(axis=1)
    fits = (rows["status"] == "complete") & rows["feasible"] & (rows["flags"] == "") & numbers
    return fits.to_numpy(dtype=bool)
