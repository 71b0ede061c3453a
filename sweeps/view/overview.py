"""A sweep at one moment, in numbers: trials and judgements by state, the frontier so far, what was spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np

from sweeps.frontier import mean, minimised, non_dominated
from sweeps.record import Snapshot, TrialRecord
from sweeps.space import Sweep
from sweeps.view.activity import Activity, Run

ACCURACIES = ("clean_accuracy", "robust_accuracy")


@dataclass(frozen=True)
class Place:
    """Where a setting stands: a trial, or the mean over trials with the same options and different seeds."""

    numbers: tuple[int, ...]  # its trials
    values: Mapping[str, float]  # accuracies, and the sweep's objectives
    judged: bool  # else by the cheap attack, and by what the judge has broken so far
    params: Mapping[str, Any]
    tested: Mapping[str, float]  # accuracies on test; empty before it was read


@dataclass(frozen=True)
class Judgements:
    """Trials by the state of their judging on the selection set, and how far test is."""

    in_full: int
    skipped: int
    failed: int
    flagged: int
    running: int
    waiting: int
    members: int  # 0 before they are fixed
    tested: int


@dataclass(frozen=True)
class Overview:
    """Everything that can be said of a running sweep at one moment."""

    wanted: int
    outcomes: Mapping[str, int]  # trials that ended, by outcome
    infeasible: int  # of the complete ones
    training: int  # trials in training
    judgements: Judgements | None  # None where nothing is judged
    frontier: tuple[Place, ...]  # by clean accuracy, the highest first
    others: tuple[tuple[float, float], ...]  # clean and robust accuracy of the rest
    volume: float | None
    device_seconds: float
    images_per_second: float | None  # of all trials in training together

    @property
    def waiting(self) -> int:
        """Trials that have not begun, and those of an earlier life that have not gone on yet."""
        return max(0, self.wanted - sum(self.outcomes.values()) - self.training)

    @classmethod
    def of(cls, sweep: Sweep, snapshot: Snapshot, activity: Activity) -> Overview:
        """Puts together what the record and the activity know."""
        with activity.lock:
            runs = list(activity.runs.values())
            training = [run for run in runs if run.job.work["kind"] == "train"]
            ended = [trial for trial in snapshot.trials if trial.outcome is not None]
            places = [place for place in _places(sweep, snapshot, activity) if place is not None]
            front = _frontier(places, sweep, snapshot)
            leading = {place.numbers for place in front}
            others = tuple(
                (place.values[ACCURACIES[0]], place.values[ACCURACIES[1]])
                for place in places
                if place.numbers not in leading and all(name in place.values for name in ACCURACIES)
            )
            return cls(
                wanted=max(sweep.search.trials, len(snapshot.trials)),
                outcomes=Counter(str(trial.outcome) for trial in ended),
                infeasible=sum(trial.outcome == "complete" and not trial.feasible for trial in ended),
                training=len(training),
                judgements=_judgements(sweep, snapshot, runs),
                frontier=tuple(front),
                others=others,
                volume=_volume(front, sweep.objectives),
                device_seconds=_spent(snapshot, activity, training),
                images_per_second=activity.speed * len(training) if activity.speed and training else None,
            )


def eligible(sweep: Sweep, snapshot: Snapshot) -> list[TrialRecord]:
    """Complete trials that are judged, or could be."""
    every = sweep.judge.trials == "all"
    return [trial for trial in snapshot.trials if trial.outcome == "complete" and (trial.feasible or every)]


def flagged(snapshot: Snapshot) -> set[int]:
    """Trials whose numbers cannot be trusted, on either split."""
    return {number for (number, _), judged in snapshot.judged.items() if judged.flags}


def _judgements(sweep: Sweep, snapshot: Snapshot, runs: Iterable[Run]) -> Judgements | None:
    if sweep.judge.trials == "none":
        return None
    numbers = {trial.number for trial in eligible(sweep, snapshot)}
    in_full = {number for number, split in snapshot.judged if split == "validation"} & numbers
    skipped = set(snapshot.skipped) & numbers - in_full
    failed = {number for number, split in snapshot.unjudged if split == "validation"} & numbers - in_full - skipped
    running = {run.job.number for run in runs if run.job.work.get("split") == "validation"}
    running = running & numbers - in_full - skipped
    members = set(snapshot.members[-1].trials) if snapshot.members else set()
    return Judgements(
        in_full=len(in_full),
        skipped=len(skipped),
        failed=len(failed - running),
        flagged=len(flagged(snapshot) & numbers),
        running=len(running),
        waiting=len(numbers - in_full - skipped - failed - running),
        members=len(members),
        tested=sum((number, "test") in snapshot.judged for number in members),
    )


def _places(sweep: Sweep, snapshot: Snapshot, activity: Activity) -> Iterable[Place | None]:
    settings: dict[int, list[TrialRecord]] = {}
    for trial in snapshot.trials:
        if trial.outcome == "complete":
            settings.setdefault(trial.number if trial.replicate_of is None else trial.replicate_of, []).append(trial)
    for trials in settings.values():
        yield _place(sweep, trials, snapshot, activity)


def _place(sweep: Sweep, trials: list[TrialRecord], snapshot: Snapshot, activity: Activity) -> Place | None:
    names = [*ACCURACIES, *(name for name in sweep.objectives if name not in ACCURACIES)]
    values = [_values(trial, snapshot, activity) for trial in trials]
    names = [name for name in names if all(name in each for each in values)]
    if not names:
        return None
    on_test = [snapshot.judged.get((trial.number, "test")) for trial in trials]
    tested = [{name: float(getattr(judged, name)) for name in ACCURACIES} for judged in on_test if judged is not None]
    return Place(
        tuple(trial.number for trial in trials),
        mean(values, dict.fromkeys(names, "max")),
        all((trial.number, "validation") in snapshot.judged for trial in trials),
        trials[0].params,
        mean(tested, dict.fromkeys(ACCURACIES, "max")) if tested else {},
    )


def _values(trial: TrialRecord, snapshot: Snapshot, activity: Activity) -> dict[str, float]:
    """What is known best of a trial: as judged, else the lower of the cheap attack's number and the bound so far."""
    known = dict(trial.metrics)
    judged, skipped = snapshot.judged.get((trial.number, "validation")), snapshot.skipped.get(trial.number)
    standing = activity.standing.get((trial.number, "validation"))
    if judged is not None:
        known.update({name: float(getattr(judged, name)) for name in ACCURACIES})
    elif skipped is not None and skipped.after:
        known["clean_accuracy"] = skipped.clean_correct / skipped.images
        known["robust_accuracy"] = skipped.bound / skipped.images
    elif standing is not None and standing.images:
        bound = standing.standing / standing.images
        known["robust_accuracy"] = min(known.get("robust_accuracy", bound), bound)
    return known


def _frontier(places: Iterable[Place], sweep: Sweep, snapshot: Snapshot) -> list[Place]:
    """What is judged and not dominated by anything judged, and what may yet join it by its cheap numbers.

    A cheap number is an upper bound in spirit, so it pushes nothing out that was judged.
    """
    outside = flagged(snapshot) | set(snapshot.skipped) | {t.number for t in snapshot.trials if not t.feasible}
    candidates = {
        place.numbers: place
        for place in places
        if not outside & set(place.numbers) and all(name in place.values for name in sweep.objectives)
    }
    judged = {numbers: place.values for numbers, place in candidates.items() if place.judged}
    cheap = {numbers: place.values for numbers, place in candidates.items() if not place.judged}
    front = set(non_dominated(judged, sweep.objectives))
    front |= set(non_dominated({**judged, **cheap}, sweep.objectives)) & set(cheap)
    return sorted(
        (candidates[numbers] for numbers in front),
        key=lambda place: (-place.values.get(ACCURACIES[0], 0.0), place.values.get(ACCURACIES[1], 0.0), place.numbers),
    )


def _volume(front: Iterable[Place], objectives: Mapping[str, str]) -> float | None:
    """Hypervolume of the accuracies among the objectives, from 0; None where there are none, or no point."""
    accuracies = {name: mode for name, mode in objectives.items() if name in ACCURACIES and mode == "max"}
    points = [place.values for place in front]
    if not accuracies or not points:
        return None
    return float(moocore.hypervolume(minimised(points, accuracies), ref=np.zeros(len(accuracies))))


def _spent(snapshot: Snapshot, activity: Activity, training: Iterable[Run]) -> float:
    """Device-seconds of training and judging, in all lives of the driver, as far as they were told."""
    seconds = sum(trial.metrics.get("cost_seconds", 0.0) for trial in snapshot.trials)
    seconds += sum(float(run.result.get("cost_seconds", 0.0)) for run in training)
    seconds += sum(judged.seconds for judged in snapshot.judged.values())
    return seconds + sum(told for key, told in activity.judge_seconds.items() if key not in snapshot.judged)
