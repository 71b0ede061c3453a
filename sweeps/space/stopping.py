"""Which trials end early: how a space says it, and what it means where it leaves that to us."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from robustray.measures.metrics import METRICS
from robustray.options.mistakes import Mistakes
from robustray.options.yaml import show
from robustray.registry import Count, Options, Real
from robustray.trial import TrialConfig

RUNGS = {"race": (1 / 2, 1.0), "pareto_halving": (2 / 9, 1 / 2, 1.0)}
"""Shares of training, by policy. Before 2/9 of a training whose rate warms up, accuracies rank settings backwards."""
WARM = RUNGS["pareto_halving"][0]
"""That share."""
LEAST_EPOCHS = 9
"""Of every trial: shorter trainings leave nothing to save."""
LEAST_TRIALS = 8
"""A race begins with so many settings drawn at random."""
PAUSING = ("race", "pareto_halving")
"""The names of policies that pause trials at rungs."""
BEFORE = "fifo"
"""What `none` was called, and may be."""
ETA = 3


class Stopping(Options):
    """Which trials end early. A bare name is short for a mapping with that name."""

    short: ClassVar[str | None] = "name"
    name: Literal["auto", "race", "pareto_halving", "none"] = Field(
        "auto",
        description="race pauses every trial at every rung, and goes on with what promises most hypervolume for its remaining "
        "time; pareto_halving goes on with the best share of a rung by non-dominated rank; none lets every trial run to its "
        f"end; auto is race where search.sampler is auto, search.trials at least {LEAST_TRIALS}, and every trial has at least "
        f"{LEAST_EPOCHS} epochs, and none otherwise. With race and pareto_halving, search.trials counts whole trainings' worth "
        "of epochs: more trials begin, and fewer end",
        json_schema_extra={"enum": ["auto", *PAUSING, "none", BEFORE]},
    )
    rungs: Literal["auto"] | tuple[Annotated[Real, Field(gt=0)], ...] = Field(
        "auto",
        description="where a trial is paused and compared: shares of its own training, as [0.2, 0.5], or epochs, as [3, 9], "
        "where all trials have as many; auto is 1/2, and 2/9 before it for pareto_halving. The end of training comes last",
    )
    eta: Real = Field(ETA, gt=1, description="pareto_halving goes on with one in so many trials of a rung")
    keep_paused: Count | None = Field(
        None,
        ge=1,
        description="how many paused trials keep the state they go on from; those that promise least are stopped for good, and "
        "their checkpoints deleted. Nothing is deleted where it is not given",
    )

    @field_validator("name", mode="before")
    @classmethod
    def _of_before(cls, value: Any) -> Any:
        return "none" if value == BEFORE else value

    @field_validator("rungs")
    @classmethod
    def _rising(cls, value: Literal["auto"] | tuple[float, ...]) -> Literal["auto"] | tuple[float, ...]:
        if value == "auto":
            return value
        if list(value) != sorted(set(value)) or not value:
            raise ValueError(f"must rise from one to the next, as in [0.2, 0.5], not {_listed(value)}")
        if not _epochs(value) and value[-1] > 1:
            raise ValueError(f"takes shares of training, up to 1, or whole epochs, but not both: {_listed(value)}")
        return value

    @model_validator(mode="after")
    def _of_its_own(self) -> Stopping:
        if self.eta != ETA and self.name != "pareto_halving":
            raise Mistakes({("eta",): f"is pareto_halving's; {self.name} has none"})
        return self

    @property
    def pauses(self) -> bool:
        """Whether trials are paused at rungs. Nobody knows of `auto`."""
        return self.name in PAUSING

    def shares(self, epochs: int) -> tuple[float, ...]:
        """The rungs as shares of a training, 1 the last, of a policy that pauses.

        Args:
            epochs: of all trials, where rungs are epochs.
        """
        if self.rungs == "auto":
            return RUNGS[self.name]
        found = tuple(rung / epochs for rung in self.rungs) if _epochs(self.rungs) else self.rungs
        return (*(share for share in found if share < 1), 1.0)


def _epochs(rungs: Sequence[float]) -> bool:
    """Whether numbers mean epochs: all are whole."""
    return all(float(rung).is_integer() for rung in rungs)


def rung_epochs(shares: Iterable[float], epochs: int) -> tuple[int, ...]:
    """The epoch after which a training of so many has come to each rung: the nearest one, from 1. Two rungs of a short training
    may fall on one epoch: a trial passes both at once.
    """
    return tuple(max(1, min(epochs, round(share * epochs))) for share in shares)


def obstacle(stopping: Stopping, sampler: str, objectives: Iterable[str], trials: Sequence[TrialConfig]) -> str | None:
    """Why trials of a space cannot be paused as it asks, and what to do; None where they can.

    Args:
        trials: some, which between them show every branch with its numbers at both ends.
    """
    if stopping.name == "race" and sampler != "auto":
        own = f"race chooses settings by its own model, not by sampler {sampler}"
        return f"{own}; leave search.sampler out, or write pareto_halving"
    if any(trial.script is not None for trial in trials):
        return "a training script of your own is not paused at rungs; write none"
    for name in objectives:
        if name not in list(METRICS) or METRICS[name].needs:
            return f"{name} is measured as training ends, and not at rungs; write none"
    lengths = sorted({trial.schedule.epochs for trial in trials})
    if stopping.rungs != "auto" and _epochs(stopping.rungs) and stopping.rungs:
        if len(lengths) > 1:
            return f"rungs are epochs, but trials have {lengths[0]} to {lengths[-1]} of them; give shares, as in [0.2, 0.5]"
        if stopping.rungs[-1] > lengths[0]:
            return f"rung {show(stopping.rungs[-1])} is beyond the {lengths[0]} epochs of a trial"
    return None


def too_early(stopping: Stopping, trials: Iterable[TrialConfig]) -> str | None:
    """What is odd about a rung of a policy that pauses, in a line; None where nothing is.

    Args:
        trials: as `obstacle` has them.
    """
    if stopping.rungs == "auto" or not stopping.pauses:
        return None
    for trial in trials:
        schedule = trial.schedule
        first = rung_epochs(stopping.shares(schedule.epochs), schedule.epochs)[0]
        if schedule.warmup > 0 and first < rung_epochs([WARM], schedule.epochs)[0]:
            early = f"stopping.rungs: {show(stopping.rungs[0])} is after epoch {first} of {schedule.epochs}"
            return (
                f"{early}; before 2/9 of a training whose learning rate warms up (trial.schedule: {schedule.name}), accuracies "
                "rank settings backwards"
            )
    return None


def most_states(stopping: Stopping, worth: float, epochs: int, waiting: int = 0) -> int:
    """How many more trials may come to have a state on the disk within a budget, where a policy pauses them.

    All that begin and wait at the first rung, a share r of training: worth / r. Where only K may wait, those that are given up
    leave none: as many as may wait, and the rest of the budget in whole trainings, max(0, worth - r K) + K.

    Args:
        worth: whole trainings that are left. epochs: of the longest. waiting: how many wait already.
    """
    first = rung_epochs(stopping.shares(epochs), epochs)[0] / epochs
    most = worth / first
    if stopping.keep_paused is not None:
        room = max(0, stopping.keep_paused - waiting)
        most = min(most, room + max(0.0, worth - first * room))
    return math.ceil(most - 1e-9)


def unwanted(
    stopping: Stopping, sampler: str, objectives: Iterable[str], trials: Sequence[TrialConfig], count: int
) -> str | None:
    """Why `auto` means that every trial runs to its end; None where it means a race.

    Args:
        trials: as `obstacle` has them. count: how many are asked for.
    """
    if sampler != "auto":
        return f"sampler {sampler} chooses"
    if count < LEAST_TRIALS:
        return f"of fewer than {LEAST_TRIALS} trials"
    shortest = min(trial.schedule.epochs for trial in trials)
    why = obstacle(stopping, sampler, objectives, trials)
    if why is None and shortest < LEAST_EPOCHS:
        return f"trials of {shortest} epochs leave nothing to save"
    return why if why is None else why.partition(";")[0]


def described(stopping: Stopping, epochs: int) -> str:
    """`race at 1/2 and all of training`: a policy that pauses, in words."""
    shares = [Fraction(share).limit_denominator(100) for share in stopping.shares(epochs)[:-1]]
    before = ", ".join(map(str, shares))
    return f"{stopping.name} at {f'{before} and ' if before else ''}all of training"


def _listed(values: Sequence[float]) -> str:
    return f"[{', '.join(map(show, values))}]"
