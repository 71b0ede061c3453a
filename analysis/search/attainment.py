"""What repeats of a search attain: the empirical attainment function over sweeps, or over the training seeds of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import axes, collect, sheet, standing, volume
from analysis.axes import Axis
from analysis.pareto import nondominated
from analysis.tables import Cell, Head, Table
from robustray.errors import UserError
from robustray.measures.metrics import ACCURACIES
from sweeps import record

Array = NDArray[np.float64]
LEVELS = (25, 50, 75)
"""Percent of the repeats that attain at least the points of a surface."""
_FEWEST = 2


@dataclass(frozen=True)
class Repeats:
    """The fronts of repeats of one search.

    Attributes:
        fronts: by the name of the repeat, [n, m] non-dominated points, accuracies as fractions.
        objectives: by metric, in the order of the columns.
        numbers: what the points are: `judged`, or `cheap` where one of the repeats has nothing judged.
    """

    fronts: Mapping[str, Array]
    objectives: Mapping[str, str]
    numbers: str

    def surfaces(self) -> dict[int, Array]:
        """What so many percent of them attain, by `LEVELS`."""
        return surfaces(list(self.fronts.values()), [mode == "max" for mode in self.objectives.values()])


def surfaces(fronts: Sequence[Array], maximise: Sequence[bool], levels: Sequence[int] = LEVELS) -> dict[int, Array]:
    """Attainment surfaces (Grunert da Fonseca, Fonseca and Hall, EMO 2001): by level, the best points that so many attain.

    A front attains a point where one of its own is at least as good in every objective. A surface is the non-dominated
    points of what at least `level` percent of the fronts attain, all of it: 50 is the median front. Exact, by moocore.

    Args:
        fronts: [n_i, m] each, m 2 or 3. maximise: [m]. levels: percentages in (0, 100].

    Returns:
        [k, m] by level; empty where no point is attained so often.
    """
    import moocore

    sign = np.where(np.asarray(maximise, dtype=bool), -1.0, 1.0)
    values = np.concatenate([np.asarray(front, dtype=float) for front in fronts]) * sign
    sets = np.repeat(np.arange(len(fronts)), [len(front) for front in fronts])
    all_of_them = moocore.eaf(values, sets)
    counts = np.rint(all_of_them[:, -1] / 100 * len(fronts)).astype(int)
    return {level: all_of_them[counts == needed(level, len(fronts)), :-1] * sign for level in levels}


def of_sweeps(folders: Sequence[Path]) -> Repeats:
    """The fronts of sweeps of one space, which differ in the seed of their search.

    One sweep alone is taken by its training seeds: the first front is that of all first seeds, the second that of all second
    ones, and so on, over the settings that have as many seeds as the setting with the most.

    Raises:
        UserError: a folder has no record or no front, objectives or spaces differ, or a lone sweep has no replicates.
    """
    snapshots = {str(folder): record.read(folder) for folder in folders}
    first, *others = snapshots
    objectives = snapshots[first].objectives
    for other in others:
        if snapshots[other].objectives != objectives:
            raise UserError(
                f"{other}: searches for {axes.subject(snapshots[other].objectives)}, {first} for {axes.subject(objectives)}; "
                "attainment takes sweeps of one space"
            )
    if len(objectives) not in (2, 3):
        raise UserError(f"{first}: has {len(objectives)} objective(s); attainment takes 2 or 3")
    tables = {name: collect.table(snapshot) for name, snapshot in snapshots.items()}
    spaces = {name: sheet.read(Path(name)).space for name in snapshots}
    for other in others:
        for section in ("trial", "judge"):
            if spaces[other].get(section) != spaces[first].get(section):
                raise UserError(
                    f"{other}: its `{section}` is not that of {first}; attainment takes sweeps of one space"
                )
    judged = all(bool((df["judging"] == "full").any()) for df in tables.values())
    parts = {_label(name, tables): df for name, df in tables.items()} if others else _by_seed(first, tables[first])
    fronts = {name: _front(df, objectives, judged=judged) for name, df in parts.items()}
    for name, front in fronts.items():
        if not len(front):
            raise UserError(f"{name}: no trial within its constraints is {'judged' if judged else 'complete'} yet")
    return Repeats(fronts, objectives, "judged" if judged else "cheap")


def summary(repeats: Repeats) -> pd.DataFrame:
    """A row for each repeat, then one for each surface: `front`, `points` on it, `hypervolume` as a report has it.

    All are measured in one box; where a cost is an objective it ends at the largest cost on a front.
    """
    attained = repeats.surfaces()
    fronts = dict(repeats.fronts) | {said(level, len(repeats.fronts)): front for level, front in attained.items()}
    names = list(repeats.objectives)
    rows = {name: pd.DataFrame(front, columns=names) for name, front in fronts.items()}
    worst = volume.largest(pd.concat(rows.values()).assign(status="complete"), repeats.objectives)
    volumes = [volume.volume(each, repeats.objectives, worst) for each in rows.values()]
    return pd.DataFrame({"front": list(rows), "points": [len(each) for each in rows.values()], "hypervolume": volumes})


def table(repeats: Repeats) -> pd.DataFrame:
    """A row for each point of each surface, `level` in percent and the objectives, along the first objective."""
    names = list(repeats.objectives)
    parts = [
        pd.DataFrame(front, columns=names).sort_values(names).assign(level=level)
        for level, front in repeats.surfaces().items()
    ]
    return pd.concat(parts, ignore_index=True)[["level", *names]]


def printed(repeats: Repeats) -> Table:
    """The summary for a terminal."""
    remark = "of the square" if all(name in ACCURACIES for name in repeats.objectives) else "of the box"
    heads = [Head(f"front, {repeats.numbers}"), Head("points", numeric=True), Head("hypervolume", remark, numeric=True)]
    rows = [
        [Cell(row["front"]), Cell(str(row["points"])), Cell(f"{row['hypervolume']:.4f}")]
        for row in summary(repeats).to_dict("records")
    ]
    return Table(heads, rows)


def said(level: int, repeats: int) -> str:
    """`attained by 50 % (2 of 3)`."""
    return f"attained by {level} % ({needed(level, repeats)} of {repeats})"


def needed(level: int, repeats: int) -> int:
    """How many of so many repeats are at least `level` percent; no rounding of a percentage asks for one more."""
    return int(np.ceil(level / 100 * repeats - 1e-9))


def _by_seed(name: str, df: pd.DataFrame) -> dict[str, pd.DataFrame]:
    rows = df[(df["status"] == "complete") & df["derived"].isna()]
    settings = standing.settings(rows)
    sizes = settings.map(settings.value_counts())
    most = int(sizes.max()) if len(rows) else 0
    if most < _FEWEST:
        raise UserError(
            f"{name}: every setting has one training seed, so one sweep has nothing to repeat; name others of the same space "
            "with another search.seed"
        )
    full = rows[sizes == most]
    number = full.groupby(settings[sizes == most]).cumcount()
    alone = full.assign(replicate_of=pd.Series(pd.NA, index=full.index, dtype="Int64"))
    return {f"seed {which + 1} of {most}": alone[number == which] for which in range(most)}


def _front(df: pd.DataFrame, objectives: Mapping[str, str], *, judged: bool) -> Array:
    """[n, m]: the members' settings, or what would be them; by the cheap attack where not all repeats are judged."""
    named = [Axis(name, mode) for name, mode in objectives.items()]
    columns = [axis.column("judged_" if judged else "") for axis in named]
    some = df[(df["status"] == "complete") & df["feasible"] & (df["flags"] == "")]
    some = some[some["judging"] == "full"] if judged else some
    means = some[columns].astype(float).groupby(standing.settings(some)).mean().dropna().to_numpy()
    return np.asarray(means[nondominated(means, [axis.sign > 0 for axis in named])])


def _label(name: str, tables: Mapping[str, object]) -> str:
    """The folder's own name where that tells it apart."""
    short = Path(name).resolve().name
    return short if [Path(other).resolve().name for other in tables].count(short) == 1 else name
