"""Who stands where: the best known number of a trial, settings over their replicates, who can be on a frontier.

The one answer to these questions, over a snapshot of the record: samplers, the judging, the live view, the report and its
tables ask here. Nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from typing import Final

from robustray.measures.metrics import ACCURACIES
from sweeps.frontier import mean, non_dominated
from sweeps.record.constraints import Limits, measured, missed, said, shares
from sweeps.record.facts import Snapshot, TrialRecord
from sweeps.record.known import Known as Known
from sweeps.record.known import known as known

SELECTION: Final = "validation"
TEST: Final = "test"
"""The splits' names in the record."""


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
    """Complete trials that judging may find within the constraints, and the others too where `infeasible` ones are wanted."""
    limits = snapshot.constraints
    return [
        trial for trial in snapshot.trials if trial.outcome == "complete" and (infeasible or hopeful(trial, limits))
    ]


def hopeful(trial: TrialRecord, limits: Limits) -> bool:
    """Whether judging may find a trial within the constraints: it misses none by what training alone measures.

    The cheap attack decides nothing about accuracies: it is weaker, and looks at other images. Where the record does not say
    what trials are held to, as in folders of before, what was told when the trial ended counts.
    """
    return trial.feasible or (bool(limits) and not measured(trial.violations))


def shortfalls(snapshot: Snapshot, trial: TrialRecord) -> list[str]:
    """The constraints that a trial misses, in words, by what is known best of it."""
    found = _known(snapshot, trial)
    by_judge = (
        "" if found.source != "cheap" or not set(missed(trial.violations)) & set(ACCURACIES) else " (cheap attack)"
    )
    at_most = ACCURACIES[1:] if found.source == "bound" else ()
    return [f"{line}{by_judge}" for line in said(found.values, snapshot.constraints, at_most=at_most)]


def nearest(snapshot: Snapshot, *, full: bool = False) -> TrialRecord | None:
    """Where no complete trial keeps to the constraints, the one that is least `outside`.

    Args:
        full: of those that are judged in full: of the others a bound is known, and they may be further outside.
    """
    complete = [trial for trial in snapshot.trials if trial.outcome == "complete"]
    if any(trial.feasible for trial in complete):
        return None
    if full:
        complete = [trial for trial in complete if (trial.number, SELECTION) in snapshot.judged]
    return min(complete, key=lambda trial: outside(snapshot, trial), default=None) if snapshot.constraints else None


def outside(snapshot: Snapshot, trial: TrialRecord) -> float:
    """How far a trial is outside the constraints, by what is known best of it: the sum of the `shares` that it misses."""
    return sum(missed(shares(_known(snapshot, trial).values, snapshot.constraints)).values())


def _known(snapshot: Snapshot, trial: TrialRecord) -> Known:
    number = trial.number
    judged, skipped = snapshot.judged.get((number, SELECTION)), snapshot.skipped.get(number)
    return known(trial, judged, skipped, snapshot.reached.get(number))


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
