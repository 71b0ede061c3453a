"""Who stands, from a table of trials: the answers of `sweeps.standing`, also where a table is filtered or made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustray.measures.metrics import ACCURACIES
from sweeps import record, standing
from sweeps.frontier import mean, non_dominated
from sweeps.record.facts import UNFINISHED
from sweeps.standing import SELECTION


def objectives_on_test(objectives: Mapping[str, str]) -> dict[str, str]:
    """The sweep's objectives on test, to see which members dominate which there. Nothing is chosen by them."""
    return {f"test_{name}" if name in ACCURACIES else name: mode for name, mode in objectives.items()}


def settings(df: pd.DataFrame) -> pd.Series[Any]:
    """The setting of each trial, by its first trial: those with the same options and other training seeds share one."""
    return df["replicate_of"].fillna(df["trial"]).astype("int64")


def judged_frontier(df: pd.DataFrame, objectives: Mapping[str, str]) -> set[int]:
    """The trials on the frontier of judged accuracies, as the sweep fixes its members.

    A setting stands where the mean over its seeds stands. It takes part once all its complete trials are judged in full or
    could not be, none of its seeds is still in training, and none is infeasible or flagged: see `sweeps.standing`.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    return set(standing.members(_record(df, objectives)))


def dominated_on_test(df: pd.DataFrame, objectives: Mapping[str, str]) -> pd.Series[bool]:
    """Which members another member dominates on test; False for all that are not members or have no test result.

    Settings are compared by the means over their seeds: a seed is not held against another one of its own setting.

    Args:
        df: as `analysis.load` gives it.
        objectives: the sweep's, by metric.
    """
    on_test = objectives_on_test(objectives)
    read = df[df["member"] & df[list(on_test)].notna().all(axis=1)]
    means: dict[Any, dict[str, float]] = {}
    for setting, rows in read.groupby(settings(read)):
        means[setting] = mean(
            [dict(zip(on_test, row, strict=True)) for row in rows[list(on_test)].to_numpy(float)], on_test
        )
    dominated = means.keys() - set(non_dominated(means, on_test))
    return settings(df).isin(dominated) & df.index.isin(read.index)


def _record(df: pd.DataFrame, objectives: Mapping[str, str]) -> record.Snapshot:
    """What a record must say for it to be known who stands."""
    numbers = [int(number) for number in df["trial"]]
    rows = dict(zip(numbers, df.to_dict("records"), strict=True))
    unjudged = [name for name in objectives if name not in ACCURACIES]
    return record.Snapshot(
        objectives=dict(objectives),
        trials=[
            record.TrialRecord(
                number=number,
                params={},
                outcome=None if row["status"] in UNFINISHED else row["status"],
                metrics={name: float(row[name]) for name in unjudged},
                feasible=bool(row["feasible"]),
                replicate_of=None if pd.isna(row["replicate_of"]) else int(row["replicate_of"]),
            )
            for number, row in rows.items()
        ],
        judged={
            (number, SELECTION): record.Judged(
                images=1,  # so that accuracies are counts
                clean_correct=row["judged_clean_accuracy"],
                robust=row["judged_robust_accuracy"],
                version="",
                autoattack=False,
                folder="",
                seconds=0.0,
                flags=tuple(filter(None, row["flags"].split(", "))),
            )
            for number, row in rows.items()
            if row["judging"] == "full"
        },
        skipped={},
        unjudged={(number, SELECTION): "" for number, row in rows.items() if row["judging"] == "failed"},
        members=[],
        settings={},
    )
