"""Record to one tidy table: a row per trial, everything that is known of it in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import measured, words
from analysis.pareto import wilson
from robustray.measures.metrics import ACCURACIES, METRICS
from sweeps import record, standing
from sweeps.record import points
from sweeps.standing import SELECTION, TEST

OPTION = "option."
VIOLATION = "violation."
_NUMBERS = {"judged": SELECTION, "test": TEST}

_BEFORE = {"trial": "int64", "status": "object", "feasible": "bool", "cause": "object"}
_AGAIN = {"taken_up": "object"}
_AFTER = {
    "replicate_of": "Int64",
    "derived": "object",
    "parents": "object",
    "judging": "object",
    "flags": "object",
    "dominated_by": "Int64",
    "skipped_after": "object",
    "bound": "float64",
    **{
        f"{split}_{name}": "float64"
        for split in _NUMBERS
        for accuracy in ACCURACIES
        for name in (accuracy, f"{accuracy}_low", f"{accuracy}_high")
    },
    "judged_images": "Int64",
    "test_images": "Int64",
    "member": "bool",
    "judge_version": "object",
    "autoattack": "boolean",
    "gap_clean": "float64",
    "gap_robust": "float64",
}


_OUTSIDE = {"misses": "object", "outside": "float64"}  # where the record says what trials are held to


def load(folder: Path | str) -> pd.DataFrame:
    """A row per trial of a running or finished sweep. Takes no lock and writes nothing.

    Columns (accuracies and their 95 % Wilson bounds `_low`, `_high` are fractions; missing is nan, None or <NA>):

    - `trial` its number, `status` (complete, stopped, diverged, out_of_memory, failed, paused, running), `feasible`,
      `cause`; a paused trial waits at a rung, and has the numbers that it had there, as one that was stopped there;
    - `taken_up`, where a larger budget let any wait again that had been stopped: after how many epochs that was, and whether
      the trial went on since; "" of the others;
    - `option.<parameter>` for every searched option, in the order they were first handed out;
    - what was measured of the checkpoint that counts, by metric: `clean_accuracy`, `robust_accuracy` (tune part of
      validation, cheap attack), `cost_seconds`, `cost_device_hours`, `cost_passes`, and every measure. One whose name
      is taken by another column is called `metric.<name>`;
    - `replicate_of`: the trial whose options it has, with another seed;
    - `derived`: how a point that was made without training came about (`soup, weights 0.25, 0.75`), None for a trained trial,
      which alone has options; `parents`: what it was made of, joined by ", ": numbers of trials, `3@10` for a snapshot of
      trial 3, and what else was named. Its costs hold those of its parents;
    - `judging`: `full` (all attacks, on the selection set), `skipped` (after the attack `skipped_after`: proven dominated by
      trial `dominated_by`, or missing a constraint where there is none; `bound` is the largest robust accuracy it can still
      have), `failed` (see `cause`), `none`;
    - `feasible`, of complete trials, by what is known best: as judged, else a bound, else by the cheap attack. Where there are
      constraints, `misses` says which are missed and by how much, `violation.<metric>` the same as a number in the metric's
      unit (zero or less where it holds), and `outside` the sum of the misses, each as a share of the larger of value and limit;
    - `flags`: why its judged numbers cannot be trusted, names of `robustray.judging.flags.MEANING` joined by ", "; "" for
      none. A flagged trial is on no frontier;
    - `judged_clean_accuracy`, `judged_robust_accuracy` on `judged_images` images of the selection set;
    - `member`: on the frontier as last fixed, and not flagged; `test_clean_accuracy`, `test_robust_accuracy` on `test_images`;
    - of members, what `measures` of the space found, with the ends of 95 % intervals: `judged_<name>` on the selection set,
      `test_<name>`, `train_<name>`; under its bare name stands what was measured of every trial, on tune images;
    - `judge_version`, `autoattack` (may the result be called so), `gap_clean`, `gap_robust`: selection set minus test.

    Raises:
        UserError: there is no readable record in the folder.
    """
    return table(record.read(Path(folder)))


def table(snapshot: record.Snapshot) -> pd.DataFrame:
    """The columns of `load`, from a record already read."""
    members = set(snapshot.members[-1].trials) if snapshot.members else set()
    made_of = points.parents(snapshot)
    rows = [_row(trial, snapshot, trial.number in members, made_of) for trial in snapshot.trials]
    options = _names(trial.params for trial in snapshot.trials if not points.derived(trial))
    metrics = dict.fromkeys([*METRICS, *(_metric(name) for name in _names(trial.metrics for trial in snapshot.trials))])
    columns: dict[str, pd.Series[Any]] = {}
    for name, dtype in _BEFORE.items():
        columns[name] = pd.Series([row[name] for row in rows], dtype=dtype)
    for name in (OPTION + option for option in options):
        columns[name] = _option([row.get(name) for row in rows])
    for name in metrics:
        columns[name] = pd.Series([row.get(name, np.nan) for row in rows], dtype="float64")
    for name in dict.fromkeys(f"{VIOLATION}{name}" for trial in snapshot.trials for name in trial.violations):
        columns[name] = pd.Series([row.get(name, np.nan) for row in rows], dtype="float64")
    again = _AGAIN if any(trial.stops for trial in snapshot.trials) else {}
    for name, dtype in (_AFTER | again | (_OUTSIDE if snapshot.constraints else {})).items():
        missing = np.nan if dtype == "float64" else None
        columns[name] = pd.Series([row.get(name, missing) for row in rows], dtype=dtype)
    for name, by_trial in measured.columns(snapshot).items():
        columns[name] = pd.Series([by_trial.get(row["trial"], np.nan) for row in rows], dtype="float64")
    return pd.DataFrame(columns)


def options(df: pd.DataFrame) -> list[str]:
    """The columns that hold searched options, in order."""
    return [name for name in df.columns if name.startswith(OPTION)]


def _row(
    trial: record.TrialRecord, snapshot: record.Snapshot, member: bool, made_of: Mapping[int, Sequence[str]]
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "trial": trial.number,
        "status": trial.state,
        "feasible": trial.feasible,
        "cause": trial.cause,
        "replicate_of": trial.replicate_of,
        "judging": "none",
        "taken_up": words.stopped_before(trial),
    }
    if points.derived(trial):
        row |= {"derived": made(trial.params), "parents": ", ".join(made_of[trial.number])}
    else:
        row |= {OPTION + name: value for name, value in trial.params.items()}
    waits = trial.state == "paused" and not trial.looked_only  # a look is no measure of the trial's own training
    measured_last = trial.rungs[-1].metrics if waits else trial.metrics
    row |= {_metric(name): value for name, value in measured_last.items()}
    row |= {VIOLATION + name: value for name, value in trial.violations.items()}
    if trial.outcome == "complete" and snapshot.constraints:
        row["misses"] = "; ".join(standing.shortfalls(snapshot, trial))
        row["outside"] = standing.outside(snapshot, trial)
    flags: dict[str, None] = {}
    for prefix, split in _NUMBERS.items():
        judged = snapshot.judged.get((trial.number, split))
        if judged is not None:
            row |= _accuracies(prefix, judged) | {"judge_version": judged.version, "autoattack": judged.autoattack}
            flags |= dict.fromkeys(judged.flags)
            if split == SELECTION:
                row["judging"] = "full"
    row |= {"flags": ", ".join(flags), "member": member and not flags}
    skipped = snapshot.skipped.get(trial.number)
    if skipped is not None and row["judging"] == "none":
        row |= {
            "judging": "skipped",
            "dominated_by": skipped.dominator,
            "skipped_after": skipped.after,
            "bound": skipped.bound / skipped.images,
            "judged_images": skipped.images,
        }
        if skipped.after:  # the clean images were looked at first, so this much is exact
            row |= _accuracy("judged_clean_accuracy", skipped.clean_correct, skipped.images)
    for (number, split), cause in snapshot.unjudged.items():
        if number == trial.number and row["judging"] == "none":
            row["judging"] = "failed"
        if number == trial.number:
            row["cause"] = f"judging on {split} failed: {cause}"
    if "judged_clean_accuracy" in row and "test_clean_accuracy" in row:
        row["gap_clean"] = row["judged_clean_accuracy"] - row["test_clean_accuracy"]
        row["gap_robust"] = row["judged_robust_accuracy"] - row["test_robust_accuracy"]
    return row


def made(params: Mapping[str, Any]) -> str:
    """How a derived point was made, in a few words: `smoothing, alpha 0.7`."""
    return ", ".join(filter(None, points.recipe(params)))


def _accuracies(prefix: str, judged: record.Judged) -> dict[str, Any]:
    counts = {"clean_accuracy": judged.clean_correct, "robust_accuracy": judged.robust}
    row: dict[str, Any] = {f"{prefix}_images": judged.images}
    for name, count in counts.items():
        row |= _accuracy(f"{prefix}_{name}", count, judged.images)
    return row


def _accuracy(column: str, count: float, images: int) -> dict[str, float]:
    low, high = wilson(count, images)
    return {column: count / images, f"{column}_low": low, f"{column}_high": high}


def _metric(name: str) -> str:
    taken = any(name in each for each in (_BEFORE, _AFTER, _AGAIN, _OUTSIDE)) or name.startswith((OPTION, VIOLATION))
    return f"metric.{name}" if taken else name


def _names(mappings: Any) -> list[str]:
    """Keys of all mappings, in the order they first appear: a choice's branches each bring their own options."""
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _option(values: Sequence[Any]) -> pd.Series[Any]:
    """Numbers as numbers also where a branch was not taken and the option is missing; all else as it was handed out."""
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        whole = all(isinstance(value, int) for value in present)
        return pd.Series(values, dtype="Int64" if whole else "float64")
    return pd.Series(values, dtype="object")
