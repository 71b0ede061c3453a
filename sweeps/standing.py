"""Who stands where: the best known number of a trial, settings over their replicates, who can be on a frontier.

The one answer to these questions, over a snapshot of the record: samplers, the judging, the live view, the report and its
tables ask here. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from sweeps.frontier import mean, non_dominated
from sweeps.record.facts import Judged, Skipped, Snapshot, TrialRecord

Source = Literal["judged", "bound", "cheap"]
"""All attacks; what the attacks so far have left, which can only fall; the cheap attack of training."""
SELECTION: Final = "validation"
TEST: Final = "test"
"""The splits' names in the record."""


@dataclass(frozen=True)
class Known:
    """Numbers of one trial, or the mean of one setting's, and where they come from."""

    values: Mapping[str, float]
    source: Source


def known(
    trial: TrialRecord, judged: Judged | None, skipped: Skipped | None = None, *, so_far: float | None = None
) -> Known:
    """What is known best of a trial: as judged, else the bound at which judging ended, else by the cheap attack.

    Args:
        judged: on the selection set.
        skipped: why it was not judged in full.
        so_far: while it is being judged, the fraction of images that stand. The cheap attack's number counts where it is
            lower.
    """
    values = dict(trial.metrics)
    if judged is not None:
        values |= {"clean_accuracy": judged.clean_accuracy, "robust_accuracy": judged.robust_accuracy}
        return Known(values, "judged")
    if skipped is not None and skipped.after:
        values["clean_accuracy"] = skipped.clean_correct / skipped.images
        values["robust_accuracy"] = skipped.bound / skipped.images
        return Known(values, "bound")
    if so_far is not None:
        values["robust_accuracy"] = min(values.get("robust_accuracy", so_far), so_far)
        return Known(values, "bound")
    return Known(values, "cheap")


def settings(trials: Iterable[TrialRecord]) -> dict[int, list[TrialRecord]]:
    """Trials that share their options and differ in the seed of training alone, by the first of them."""
    found: dict[int, list[TrialRecord]] = {}
    for trial in trials:
        found.setdefault(trial.setting, []).append(trial)
    return found


def flagged(snapshot: Snapshot) -> set[int]:
    """Trials whose numbers cannot be trusted, on either split."""
    return {number for (number, _), judged in snapshot.judged.items() if judged.flags}


def eligible(snapshot: Snapshot, *, infeasible: bool = False) -> list[TrialRecord]:
    """Complete trials that keep to the constraints, and the others too where `infeasible` ones are wanted."""
    return [trial for trial in snapshot.trials if trial.outcome == "complete" and (trial.feasible or infeasible)]


def trusted(trials: Iterable[TrialRecord], flagged: Container[int]) -> bool:
    """Whether a setting may be on a frontier: no complete trial of it is flagged or misses a constraint."""
    return all(trial.feasible and trial.number not in flagged for trial in trials if trial.outcome == "complete")


def trained(snapshot: Snapshot) -> Snapshot:
    """The same without derived points: what training alone came to."""
    return replace(snapshot, trials=tuple(trial for trial in snapshot.trials if trial.origin != "derived"))


def frontier(snapshot: Snapshot) -> dict[int, Known]:
    """Settings on the exact frontier of the selection set: all of their trials judged in full and trusted, none dominated.

    A setting of which a trial is unfinished is waited for, and left out; one of whose trials could not be judged stands where
    the others do.

    Returns:
        By the first trial of each setting, the mean over its trials.
    """
    outside = flagged(snapshot)
    standing: dict[int, Mapping[str, float]] = {}
    for setting, trials in settings(snapshot.trials).items():
        judged = [trial for trial in trials if (trial.number, SELECTION) in snapshot.judged]
        settled = all(_settled(trial, snapshot) for trial in trials)
        if judged and settled and trusted(trials, outside):
            values = [known(trial, snapshot.judged[trial.number, SELECTION]).values for trial in judged]
            standing[setting] = mean(values, snapshot.objectives)
    front = non_dominated(standing, snapshot.objectives)
    return {setting: Known(standing[setting], "judged") for setting in front}


def members(snapshot: Snapshot) -> list[int]:
    """The trials of the settings on the exact frontier, as far as they are judged: who is to be tested."""
    front = frontier(snapshot)
    return [
        trial.number
        for trial in snapshot.trials
        if trial.setting in front and (trial.number, SELECTION) in snapshot.judged
    ]


def _settled(trial: TrialRecord, snapshot: Snapshot) -> bool:
    """Whether nothing more is to be learnt of a trial: it has ended, and was judged in full or could not be."""
    if trial.outcome != "complete":
        return trial.outcome is not None
    key = trial.number, SELECTION
    return key in snapshot.judged or (key in snapshot.unjudged and trial.number not in snapshot.skipped)
