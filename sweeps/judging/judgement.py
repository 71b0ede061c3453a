"""How far the judgement of one trial on one split has come, and what it can still be at best."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robustray.derived.base import Maker
from robustray.judge import Judge
from robustray.judging import flags
from robustray.judging.plan import Plan
from robustray.measures.metrics import ACCURACIES
from robustray.registry import parts
from robustray.verdicts import CLEAN, SQUARE, SQUARE_EARLY, Shard, Verdicts, judgement_path, may_be_early
from sweeps.judging.shards import FILES, Shards
from sweeps.record import TrialRecord

_TIER = 2  # attacks that come before the expensive ones
Split = Literal["validation", "test"]


class Judgement:
    """One trial judged on one split. Every answer is kept up to date: asking costs nothing.

    Attributes:
        broken: images by (stage, shard), where it was run.
        flags: known so far; more may show at the end.
        seconds: device time spent.
        in_flight: shards that a stage is running on.
        doomed: dominated while a stage was running: nothing more is handed out.
    """

    def __init__(self, trial: TrialRecord, plan: Plan, folder: Path, shards: Shards = FILES) -> None:
        """Takes in what was done before.

        Args:
            folder: of this judgement's verdicts. shards: where they are read from.
        """
        self.trial = trial
        self.plan = plan
        self.folder = folder
        self.broken: dict[tuple[str, int], int] = {}
        self.flags: set[str] = set()
        self.seconds = 0.0
        self.in_flight: set[int] = set()
        self.doomed = False
        self.images = len(plan.rows)
        self.clean_bound = self.images
        """Images that are or may be classified correctly."""
        self.robust_bound = self.images
        """Images that no stage has broken so far."""
        self.fgsm: int | None = 0
        """Images that a step along the gradient leaves, of the shards looked at; None where a look of before did not say."""
        self._shards = shards
        self._stages = plan.stages
        self._through = [0] * len(self._stages)  # shards that a stage has been run on
        self._whole = 0  # stages that have been run on all of them
        for shard in range(plan.shards):
            rows, fallen = plan.shard(shard).astype(np.int32), dict[str, NDArray[np.int32]]()
            for stage in self._stages:
                done = shards.read(folder, stage, shard)
                taken = [fallen[each] for each in plan.before(stage)]
                standing = rows[~np.isin(rows, np.concatenate(taken))] if taken else rows
                if done is None or not np.array_equal(done.image, standing):
                    break  # what came after it stands on nothing, and is run again
                broken = done.image[done.broken]
                anew = ~np.isin(broken, np.concatenate(list(fallen.values()))) if fallen else done.broken[done.broken]
                fallen[stage] = broken
                self._count(stage, shard, {"broken": int(anew.sum()), **done.info})
        done_by = [sum((stage, shard) in self.broken for stage in self._stages) for shard in range(plan.shards)]
        self._idle = [(depth, shard) for shard, depth in enumerate(done_by) if depth < len(self._stages)]
        heapq.heapify(self._idle)

    def take(self, stage: str, shard: int, told: Mapping[str, Any]) -> None:
        """A stage is through a shard: images that it was the first to break (`broken`), `seconds`, `flags`, `fgsm`."""
        self._count(stage, shard, told)
        self.in_flight.discard(shard)
        if (depth := self._stages.index(stage) + 1) < len(self._stages):
            heapq.heappush(self._idle, (depth, shard))

    def _count(self, stage: str, shard: int, told: Mapping[str, Any]) -> None:
        broken, depth = int(told["broken"]), self._stages.index(stage)
        self.broken[stage, shard] = broken
        self.robust_bound -= broken
        if stage == CLEAN:
            self.clean_bound -= broken
            self.fgsm = None if self.fgsm is None or told.get("fgsm") is None else self.fgsm + int(told["fgsm"])
        self.seconds += float(told["seconds"])
        self.flags.update(told.get("flags", ()))
        self._through[depth] += 1
        while self._whole < len(self._stages) and self._through[self._whole] == self.plan.shards:
            self._whole += 1

    @property
    def looked_at(self) -> bool:
        """Whether the model has been asked about every image: flags that need no attack are known."""
        return self._whole > 0

    @property
    def finished(self) -> bool:
        """Whether every stage was run on every shard."""
        return self._whole == len(self._stages)

    @property
    def last_attack(self) -> str:
        """The last stage that was run on every shard; "" where none was."""
        return self._stages[self._whole - 1] if self._whole else ""

    @property
    def cheap_done(self) -> bool:
        """Whether the cheap attacks were run on every shard, and others are left."""
        return 1 + _TIER <= self._whole < len(self._stages)

    @property
    def randomised(self) -> bool:
        """Whether the model turned out to be randomised, and this judgement takes it for another one."""
        return "randomised" in self.flags and self.plan.strength != "rand"

    @property
    def may_hurry(self) -> bool:
        """Whether all is known that may bring Square forward, and it is not where it would be brought."""
        listed = may_be_early(self.plan.attacks) and SQUARE_EARLY not in self.plan.extras
        return self.looked_at and self.fgsm is not None and listed

    def ready(self) -> tuple[str, int] | None:
        """The next (stage, shard) to run: the earliest stage first."""
        if not self._idle:
            return None
        depth, shard = self._idle[0]
        return self._stages[depth], shard

    def hand_out(self) -> tuple[str, int]:
        """The next (stage, shard), which from now on is running."""
        depth, shard = heapq.heappop(self._idle)
        self.in_flight.add(shard)
        return self._stages[depth], shard

    def late(self, stage: str) -> bool:
        """Whether a stage is beyond the tier of APGD, which an early Square belongs to: three quarters of the cost, and next to
        none of the breaks."""
        brought_forward = stage == SQUARE and SQUARE_EARLY in self.plan.extras
        return stage in self.plan.attacks[_TIER:] and not brought_forward

    def bounds(self) -> tuple[float, float]:
        """Clean and robust accuracy if nothing more is broken: exact where finished, upper bounds otherwise."""
        return self.clean_bound / self.images, self.robust_bound / self.images

    def ranges(self) -> dict[str, tuple[float, float]]:
        """By accuracy, the least and the most it can be once everything is judged."""
        clean, robust = self.bounds()
        least = (clean if self.looked_at else 0.0, 0.0)
        return {name: (low, high) for name, low, high in zip(ACCURACIES, least, (clean, robust), strict=True)}

    def conclude(self) -> tuple[float, float, tuple[str, ...]]:
        """Clean and robust images, means over passes where the model is randomised, and all flags, from the verdicts."""
        done = [self._shards.read(self.folder, stage, shard) for stage, shard in self._in_order()]
        shards: list[Shard] = [shard for shard in done if shard is not None]
        raised = tuple(sorted(self.flags | set(flags.found(shards))))
        if self.plan.passes == 1:
            return self.clean_bound, self.robust_bound, raised
        verdicts = Verdicts.of(shards)
        return float(verdicts.clean_correct.sum()), float(verdicts.robust_correct.sum()), raised

    def _in_order(self) -> list[tuple[str, int]]:
        return [(stage, shard) for stage in self._stages for shard in range(self.plan.shards)]


class Plans:
    """The plans of a sweep's judgements. All of a split share all but the weights: images are listed and hashed once."""

    def __init__(self, judge: Judge) -> None:
        """Args: judge: of the sweep."""
        self._judges = {False: judge, True: judge.model_copy(update={"version": "rand"})}
        self._known: dict[tuple[Split, bool, int, bool, bool], Plan] = {}

    def of(
        self, trial: TrialRecord, split: Split, shard_size: int, *, randomised: bool = False, square_early: bool = False
    ) -> Plan:
        """The plan for a trial, as `Plan.of` makes it.

        Args:
            randomised: whether the model is judged as one that answers differently each time.
            square_early: whether Square comes directly after the first APGD.
        """
        mixture = trial.origin == "derived" and _mixes(str(trial.params.get("derived")))
        key = split, randomised, shard_size, mixture, square_early
        if key not in self._known:
            self._known[key] = Plan.of(
                self._judges[randomised],
                "",
                split,
                shard_size=shard_size,
                mixture=mixture,
                square_early=square_early,
            )
        plan = self._known[key]
        return replace(plan, parts={**plan.parts, "weights": str(trial.weights)})


def _mixes(name: str) -> bool:
    """Whether what a maker makes is judged through its parts as well."""
    maker = parts("derive").get(name)
    return issubclass(maker, Maker) and maker.mixes if maker is not None else False


def folder_of(plan: Plan, root: Path) -> Path:
    """Where a worker will keep the verdicts, under `root`. Nothing is made here."""
    return judgement_path(root, plan.split, str(plan.parts["family"]), plan.parts)
