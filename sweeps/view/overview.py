"""A sweep at one moment, in numbers: trials and judgements by state, the frontier so far, what was spent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import moocore
import numpy as np
from numpy.typing import NDArray

from robustray.measures.metrics import ACCURACIES
from sweeps.frontier import minimised
from sweeps.standing import SELECTION, TEST
from sweeps.view.activity import Activity, Run
from sweeps.view.places import Place
from sweeps.view.tally import OUTCOMES, Tally


@dataclass(frozen=True)
class Judgements:
    """Trials by the state of their judging on the selection set, and how far test is."""

    in_full: int
    skipped: int  # proven dominated
    failed: int
    flagged: int
    running: int
    waiting: int
    members: int  # 0 before they are fixed
    tested: int
    cut: int = 0  # miss a constraint whatever the remaining attacks do


@dataclass(frozen=True)
class Points:
    """Derived points by their state."""

    wanted: int  # 0 before it is known what requests come to
    complete: int
    failed: int
    running: int
    unplanned: bool  # whether there will be more

    @property
    def waiting(self) -> int:
        """Those that are neither made nor at work."""
        return max(0, self.wanted - self.complete - self.failed - self.running)


@dataclass(frozen=True)
class Overview:
    """Everything that can be said of a running sweep at one moment."""

    wanted: int
    outcomes: Mapping[str, int]  # trials that ended, by outcome
    infeasible: int  # of the complete ones
    training: int  # trials in training
    judgements: Judgements | None  # None where nothing is judged
    frontier: tuple[Place, ...]  # by clean accuracy, the highest first
    others: NDArray[np.float64] = field(compare=False)  # [n, 2] clean and robust accuracy of the rest
    volume: float | None
    device_seconds: float
    images_per_second: float | None  # of all trials in training together
    paused: int = 0  # trials that wait at a rung, and may go on
    taken_up: int = 0  # trials that were stopped when a budget was spent, and gone on with by a larger one
    spent: float | None = None  # whole trainings that are paid for; None where trials are counted
    budget: int = 0  # of them, in all
    points: Points = Points(0, 0, 0, 0, False)  # made of trials; the numbers of trials above leave them out

    @property
    def waiting(self) -> int:
        """Trials that have not begun, and those of an earlier life that have not gone on yet."""
        return max(0, self.wanted - sum(self.outcomes.values()) - self.training - self.paused)

    @classmethod
    def of(cls, tally: Tally, activity: Activity) -> Overview:
        """Puts together what the record says and what is going on. To be called with the activity's lock held."""
        rows, runs = tally.rows, list(activity.runs.values())
        training = [run for run in runs if run.job.work["kind"] == "train"]
        counts = np.bincount(rows["outcome"][~rows["derived"]], minlength=1 + len(OUTCOMES)).tolist()[1:]
        complete = rows["outcome"] == 1 + OUTCOMES.index("complete")
        front = tally.places.frontier
        return cls(
            wanted=tally.wanted,
            outcomes={outcome: count for outcome, count in zip(OUTCOMES, counts, strict=True) if count},
            infeasible=int(np.count_nonzero(complete & ~rows["feasible"] & ~rows["derived"])),
            training=len(training),
            judgements=_judgements(tally, runs),
            frontier=front,
            others=tally.places.others,
            volume=_volume(front, tally.sweep.objectives),
            device_seconds=_spent(tally, training),
            images_per_second=activity.speed * len(training) if activity.speed and training else None,
            paused=int(np.count_nonzero(rows["paused"])),
            taken_up=int(np.count_nonzero(rows["taken_up"])),
            spent=tally.spent,
            budget=tally.sweep.trials,
            points=_points(tally, runs),
        )


def _points(tally: Tally, runs: Iterable[Run]) -> Points:
    outcome = tally.rows["outcome"][tally.rows["derived"]]
    complete = int(np.count_nonzero(outcome == 1 + OUTCOMES.index("complete")))
    running = sum(run.job.work["kind"] == "derive" for run in runs)
    return Points(len(outcome), complete, int(np.count_nonzero(outcome)) - complete, running, tally.unplanned)


def _judgements(tally: Tally, runs: Iterable[Run]) -> Judgements | None:
    if tally.sweep.judge.trials == "none":
        return None
    rows = tally.rows
    in_full = rows["eligible"] & rows["judged"]
    skipped = rows["eligible"] & rows["skipped"] & ~in_full
    rest = rows["eligible"] & ~in_full & ~skipped
    running = np.zeros_like(rest)
    at_work = {run.job.number for run in runs if run.job.work.get("split") == SELECTION}
    running[[number for number in at_work if number in tally.trials]] = True
    running &= rest
    failed = rest & rows["unjudged"] & ~running
    return Judgements(
        in_full=int(np.count_nonzero(in_full)),
        skipped=int(np.count_nonzero(skipped & ~rows["cut"])),
        cut=int(np.count_nonzero(skipped & rows["cut"])),
        failed=int(np.count_nonzero(failed)),
        flagged=int(np.count_nonzero(rows["flagged"] & rows["eligible"])),
        running=int(np.count_nonzero(running)),
        waiting=int(np.count_nonzero(rest & ~failed & ~running)),
        members=len(tally.members),
        tested=len(tally.members & set(np.flatnonzero(rows["tested"]).tolist())),
    )


def _volume(front: Iterable[Place], objectives: Mapping[str, str]) -> float | None:
    """Hypervolume of the accuracies among the objectives, from 0; None where there are none, or no point."""
    accuracies = {name: mode for name, mode in objectives.items() if name in ACCURACIES and mode == "max"}
    points = [place.values for place in front]
    if not accuracies or not points:
        return None
    return float(moocore.hypervolume(minimised(points, accuracies), ref=np.zeros(len(accuracies))))


def _spent(tally: Tally, training: Iterable[Run]) -> float:
    """Device-seconds of training, deriving and judging, in all lives of the driver, as far as they are known."""
    seconds = sum(float(tally.rows[name].sum()) for name in ("seconds", "making", "judge_seconds", "test_seconds"))
    seconds += sum(float(run.result.get("cost_seconds", 0.0)) for run in training)
    return seconds + sum(float(tally.judging_here(split).sum()) for split in (SELECTION, TEST))
