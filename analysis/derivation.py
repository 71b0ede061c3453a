"""What derived points add to the frontier that training alone came to, and what that took."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import axes, paired, points, words
from analysis.comparison import Paired
from analysis.device_time import DeviceTime
from analysis.pareto import frontier
from analysis.standing import judged_frontier, settings
from analysis.volume import largest, volume
from robustray.measures.metrics import ACCURACIES
from sweeps.record import Snapshot
from sweeps.record import points as made_points


def trained_frontier(df: pd.DataFrame, objectives: Mapping[str, str]) -> set[int]:
    """The trials that would be on the frontier if nothing had been derived, by the numbers that `points.leaders` goes by.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    alone = df[df["derived"].isna()]
    if points.stage(df) == "cheap":
        return set(frontier(alone, objectives)["trial"])
    return judged_frontier(alone, objectives)


@dataclass(frozen=True)
class Added:
    """Hypervolumes, as `volume.volume` gives them, on the selection set."""

    trained: float
    union: float
    low: float | None = None  # ends of the 95 % interval of what is added, over the drawing of images
    high: float | None = None
    exact: bool = (
        True  # else a trained trial was left unjudged because a point dominates it, and `trained` may be higher
    )

    @property
    def gain(self) -> float:
        """What is added: never negative, for the frontier of more models holds that of fewer."""
        return self.union - self.trained


def added(df: pd.DataFrame, objectives: Mapping[str, str], verdicts: Paired | None = None) -> Added:
    """The hypervolume of the trained frontier, and of that with derived points.

    The interval is the paired bootstrap's: in each resample of the images both frontiers are those of the same resampled
    accuracies. It holds the drawing of images; that points were chosen among many, and the spread of training seeds, it
    does not.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        verdicts: of the trials judged in full on the selection set; None: no interval.
    """
    prefix = "" if points.stage(df) == "cheap" else "judged_"
    worst = largest(df, objectives)
    columns = [axes.Axis(name, mode).column(prefix) for name, mode in objectives.items()]

    def attained(numbers: set[int]) -> float:
        rows = df[df["trial"].isin(numbers)]
        return volume(rows.groupby(settings(rows))[columns].mean().dropna(), objectives, worst, prefix)

    known = Added(
        attained(trained_frontier(df, objectives)),
        attained(trained_frontier(df, objectives) | points.leaders(df, objectives)),
        exact=not df.loc[df["derived"].isna(), "dominated_by"].isin(df.loc[df["derived"].notna(), "trial"]).any(),
    )
    if verdicts is None or not prefix:
        return known
    low, high = paired.interval(_resampled(df, objectives, worst, verdicts))
    return Added(known.trained, known.union, low, high, known.exact)


def _resampled(
    df: pd.DataFrame, objectives: Mapping[str, str], worst: Mapping[str, float], verdicts: Paired
) -> list[float]:
    """What is added in each resample of the images, of the settings that may be on a frontier."""
    rows = df.assign(setting=settings(df)).set_index("trial").loc[verdicts.trials]
    fit = ((rows["status"] == "complete") & rows["feasible"] & (rows["flags"] == "")).to_numpy(dtype=bool)
    rows, means = rows[fit], paired.resample(verdicts.verdicts)[:, fit]  # [B, K, 2]
    of = rows.groupby("setting")
    setting, trained = of.ngroup().to_numpy(), of["derived"].first().isna().to_numpy(dtype=bool)
    share = np.eye(len(trained))[setting].T / np.bincount(setting)[:, None]  # [S, K]: means over seeds
    means = np.round(share @ means, paired.DIGITS)  # [B, S, 2]
    others = {name: share @ rows[name].to_numpy(dtype=float) for name in objectives if name not in ACCURACIES}
    gains = []
    for drawn in means:
        table = pd.DataFrame(dict(zip(ACCURACIES, drawn.T, strict=True)) | others)
        gains.append(volume(table, objectives, worst) - volume(table[trained], objectives, worst))
    return gains


def sentences(df: pd.DataFrame, objectives: Mapping[str, str], spent: DeviceTime, verdicts: Paired | None) -> list[str]:
    """What derived points add, for what device time, and what training alone came to; nothing where none were made.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
        spent: device time.
        verdicts: as for `added`.
    """
    made = df[df["derived"].notna()]
    leading = df[df["trial"].isin(points.leaders(df, objectives))]
    if made.empty or leading.empty:
        return []
    derived, alone = int(leading["derived"].notna().sum()), trained_frontier(df, objectives)
    cost = f"{words.duration(spent.deriving)} of device time" + (
        f" and {words.duration(spent.judging_points)} of judging" if spent.judging_points else ""
    )
    beside = f"beside {words.duration(spent.training)} of training"
    so_far = "" if points.stage(df) == "members" else " so far"
    of = f"{derived} of {words.count(len(leading), 'member')}{so_far}"
    if not derived:
        points_made = words.count(len(made), "point")
        return [f"{points_made} derived without training, for {cost}, {beside}: none is on the frontier{so_far}."]
    if len(objectives) < 2 or not alone:
        return [f"{of} {'was' if derived == 1 else 'were'} derived without training, for {cost}, {beside}."]
    found = added(df, objectives, verdicts)
    interval = "" if found.low is None else f"; 95 % interval over images {found.low:.4f} to {found.high:.4f}"
    adds = f"{'it adds' if derived == 1 else 'they add'} {found.gain:.4f} of hypervolume"
    least = "" if found.exact else "at least "
    return [
        f"{of} {'was' if derived == 1 else 'were'} derived without training; {adds} ({found.trained:.4f} to "
        f"{found.union:.4f}{interval}), for {cost}, {beside}.",
        f"Trained alone the frontier has {words.count(len(alone), 'trial')} and {least}{found.trained:.4f} of hypervolume"
        + ("." if found.exact else ": trials that a point dominates were not judged further."),
    ]


def lines(snapshot: Snapshot, space: Mapping[str, Any], folder: Path) -> dict[int, str]:
    """The command that makes each derived point, with all others of its request, to be run in the sweep's folder.

    Points whose request is neither in the record nor in the space are left out.

    Args:
        snapshot: the record. space: as `sweep.yaml` has it. folder: the sweep's; only its name counts.
    """
    told = [value for name, value in snapshot.settings.items() if name.startswith(made_points.ASKED)]
    of_space = space.get("derive")
    asked = [each for each in [*told, *(of_space if isinstance(of_space, list) else [])] if isinstance(each, dict)]
    requests = {made_points.name_of(each): each for each in asked}
    begin = ["python", "-m", "sweeps", "derive", f"../{folder.absolute().name}"]
    return {
        trial.number: shlex.join([*begin, json.dumps(requests[trial.request])])
        for trial in snapshot.trials
        if trial.request in requests
    }
