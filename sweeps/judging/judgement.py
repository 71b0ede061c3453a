"""How far the judgement of one trial on one split has come, and what it can still be at best."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robustray.judging import flags
from robustray.judging.plan import Plan
from robustray.verdicts import CLEAN, Verdicts, read_shard, read_shards
from sweeps.record import TrialRecord


@dataclass
class Judgement:
    """One trial judged on one split, as far as its files say."""

    trial: TrialRecord
    plan: Plan
    folder: Path
    broken: dict[tuple[str, int], int] = field(default_factory=dict)  # by (stage, shard), where run
    flags: set[str] = field(default_factory=set)  # known so far; more may show at the end
    seconds: float = 0.0
    in_flight: set[int] = field(default_factory=set)  # shards a stage is running on
    doomed: bool = False  # dominated while a stage was running: nothing more is handed out

    def __post_init__(self) -> None:
        for shard in range(self.plan.shards):
            standing = self.plan.shard(shard).astype(np.int32)
            for stage in self.plan.stages:
                done = read_shard(self.folder, stage, shard)
                if done is None or not np.array_equal(done.image, standing):
                    break  # what came after it stands on nothing, and is run again
                standing = done.survivors
                self.take(stage, shard, {"broken": int(done.broken.sum()), **done.info})

    def take(self, stage: str, shard: int, said: Any) -> None:
        """A stage is through a shard: `broken` images, `seconds`, `flags`."""
        self.broken[stage, shard] = int(said["broken"])
        self.seconds += float(said["seconds"])
        self.flags.update(said.get("flags", ()))

    @property
    def images(self) -> int:
        return len(self.plan.rows)

    @property
    def clean_bound(self) -> int:
        """Images that are or may be classified correctly."""
        return self.images - sum(count for (stage, _), count in self.broken.items() if stage == CLEAN)

    @property
    def robust_bound(self) -> int:
        """Images that no stage has broken so far."""
        return self.images - sum(self.broken.values())

    @property
    def looked_at(self) -> bool:
        """Whether the model has been asked about every image: flags that need no attack are known."""
        return all((CLEAN, shard) in self.broken for shard in range(self.plan.shards))

    @property
    def finished(self) -> bool:
        return len(self.broken) == len(self.plan.stages) * self.plan.shards

    @property
    def last_attack(self) -> str:
        """The last stage that was run on every shard; "" where none was."""
        shards = range(self.plan.shards)
        whole = [stage for stage in self.plan.stages if all((stage, shard) in self.broken for shard in shards)]
        return whole[-1] if whole else ""

    def ready(self) -> tuple[str, int] | None:
        """The next (stage, shard) to run: the earliest stage first."""
        for stage in self.plan.stages:
            for shard in range(self.plan.shards):
                idle = (stage, shard) not in self.broken and shard not in self.in_flight
                if idle and all((earlier, shard) in self.broken for earlier in self.plan.before(stage)):
                    return stage, shard
        return None

    def bounds(self) -> dict[str, float]:
        """Accuracies if nothing more is broken: exact where finished, upper bounds otherwise."""
        return {
            "clean_accuracy": self.clean_bound / self.images,
            "robust_accuracy": self.robust_bound / self.images,
        }

    def conclude(self) -> tuple[float, float, tuple[str, ...]]:
        """Clean and robust images, means over passes where the model is randomised, and all flags, from the files."""
        shards = list(read_shards(self.folder, self.plan.stages[1:]))
        verdicts = Verdicts.of(shards)
        raised = tuple(sorted(self.flags | set(flags.found(shards))))
        if self.plan.passes == 1:
            return self.clean_bound, self.robust_bound, raised
        return float(verdicts.clean_correct.sum()), float(verdicts.robust_correct.sum()), raised
