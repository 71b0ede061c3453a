"""The plain definition of replicates, over a snapshot of the record: what is kept up trial by trial has to say the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweeps.frontier import mean, minimised
from sweeps.record import Snapshot, TrialRecord
from sweeps.search import replicating
from sweeps.standing import SELECTION, flagged, known, settings, trusted


@dataclass(frozen=True)
class Standing:
    """A setting as far as its trials have ended."""

    setting: int  # its first trial
    values: Mapping[str, float]  # the exact mean over its seeds
    seeds: int  # those that have values
    begun: int


def next_replicate(snapshot: Snapshot, wanted: int, *, spent: float, budget: float, seed: int) -> int | None:
    """The setting to train with another seed now."""
    replicates = sum(trial.origin == "replicate" for trial in snapshot.trials)
    if not wanted or not replicating.due(replicates, spent=spent, budget=budget):
        return None
    standing = standings(snapshot)
    chances = nondominated(standing, snapshot.objectives, seed_sd(snapshot), seed=seed)
    near = [each for each in standing if chances[each.setting] >= replicating.NEAR and each.begun < wanted]
    best = min(near, key=lambda each: (each.begun, -chances[each.setting], each.setting), default=None)
    return None if best is None else best.setting


def standings(snapshot: Snapshot) -> list[Standing]:
    """Settings with a trial that has completed and that may be on a frontier."""
    outside, found = flagged(snapshot), []
    for setting, trials in settings(snapshot.trials).items():
        complete = [values for trial in trials if (values := _values(snapshot, trial)) is not None]
        if complete and trials[0].origin != "derived" and trusted(trials, outside):
            found.append(Standing(setting, mean(complete, snapshot.objectives), len(complete), len(trials)))
    return found


def seed_sd(snapshot: Snapshot) -> NDArray[np.float64]:
    """[m] standard deviation from seed to seed."""
    squares, freedom = np.zeros(len(snapshot.objectives)), 0
    for _, trials in sorted(settings(snapshot.trials).items()):
        complete = [values for trial in trials if (values := _values(snapshot, trial)) is not None]
        if len(complete) > 1:
            squares += replicating.squares(complete, snapshot.objectives)
            freedom += len(complete) - 1
    return replicating.seed_sd(squares, freedom, snapshot.objectives)


def nondominated(
    standing: Sequence[Standing], objectives: Mapping[str, str], sd: NDArray[np.float64], *, seed: int
) -> dict[int, float]:
    """Probability by setting that no other one dominates it."""
    values = minimised([each.values for each in standing], objectives)
    found = replicating.chances(values, np.array([each.seeds for each in standing], dtype=np.int64), sd, seed=seed)
    return {each.setting: share for each, share in zip(standing, found.tolist(), strict=True)}


def _values(snapshot: Snapshot, trial: TrialRecord) -> Mapping[str, float] | None:
    if trial.outcome != "complete":
        return None
    number = trial.number
    judged, skipped = snapshot.judged.get((number, SELECTION)), snapshot.skipped.get(number)
    found = known(trial, judged, skipped, snapshot.reached.get(number)).values
    values = {name: found.get(name, math.nan) for name in snapshot.objectives}
    return values if all(map(math.isfinite, values.values())) else None
