"""Who may be chosen: settings of a sweep that are judged, or before that measured, with the means over their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import axes, points, words
from analysis.axes import Axis
from analysis.pareto import nondominated
from analysis.standing import settings
from robustray.errors import UserError
from robustray.measures.metrics import METRICS


@dataclass(frozen=True)
class Pool:
    """Settings that can be chosen.

    Attributes:
        rows: one for each setting, that of its first seed here, its numbers the means over those seeds; indexed by `trial`.
        seeds: by such a trial, all trials of its setting that are in the means.
        objectives: the sweep's, by metric.
        stage: what the numbers are, see `points.stage`.
        bounds: trials that were never judged in full, for others proved better: they are not here.
    """

    rows: pd.DataFrame
    seeds: Mapping[int, Sequence[int]]
    objectives: Mapping[str, str]
    stage: points.Stage
    bounds: pd.DataFrame

    @property
    def prefix(self) -> str:
        """Of the columns that choose: of the selection set, or of the cheap attack while nothing is judged."""
        return "" if self.stage == "cheap" else "judged_"

    @property
    def measured(self) -> str:
        """By what they were."""
        return words.CHEAP if self.stage == "cheap" else words.SELECTION_SET

    def axis(self, name: str) -> Axis:
        """An objective, or an accuracy, which is better when larger."""
        return Axis(name, self.objectives.get(name, METRICS[name].direction))

    def column(self, name: str) -> str:
        """Of the table, with the values of a metric that choose."""
        return self.axis(name).column(self.prefix)

    def values(self, rows: pd.DataFrame, names: Sequence[str] = ()) -> NDArray[np.float64]:
        """[n, m] values of the objectives, or of other metrics, all better when larger."""
        of = names or list(self.objectives)
        signs = [self.axis(name).sign for name in of]
        return np.asarray(rows[[self.column(name) for name in of]].to_numpy(dtype=float, na_value=np.nan) * signs)

    def frontier(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that no other of them dominates, from the best in the first objective to the worst."""
        along = axes.along(self.objectives)
        kept = rows[nondominated(self.values(rows))]
        return kept.sort_values([along.column(self.prefix), "trial"], ascending=[along.sign < 0, True])


def of_table(df: pd.DataFrame, objectives: Mapping[str, str], folder: object) -> Pool:
    """The pool of a sweep: complete, feasible, not flagged, and once something is judged, judged in full.

    Args:
        df: as `analysis.load` gives it. objectives: the sweep's. folder: for messages.

    Raises:
        UserError: nobody can be chosen yet.
    """
    now = points.stage(df)
    setting = settings(df)
    fit = (df["status"] == "complete") & df["feasible"] & (df["flags"] == "")
    full = fit if now == "cheap" else fit & (df["judging"] == "full")
    if not full.any():
        raise UserError(
            f"{folder}: no trial within its constraints is complete yet, so there is nothing to choose from"
        )
    some, groups = df[full], setting[full]
    numbers = [
        name
        for name in some.columns
        if name != "trial" and pd.api.types.is_float_dtype(some[name].dtype) and not name.startswith("option.")
    ]
    # Costs are of one training each, so a mean over seeds is what one of them costs.
    means = some.groupby(groups)[numbers].transform("mean")
    rows = some.assign(
        **{name: means[name] for name in numbers}, member=some.groupby(groups)["member"].transform("any")
    )
    seeds = {int(of["trial"].iloc[0]): [int(n) for n in of["trial"]] for _, of in some.groupby(groups)}
    rows = rows[rows["trial"].isin(seeds)].set_index("trial", drop=False)
    rows.index.name = None
    return Pool(rows, seeds, objectives, now, df[fit & (df["judging"] == "skipped")])
