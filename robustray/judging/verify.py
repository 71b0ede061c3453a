"""Checks saved adversarial images from disk: inside the threat, and the same verdicts from a model loaded anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from robustray.attacks import norms
from robustray.attacks.mode import attack_mode
from robustray.judging import images
from robustray.judging.bench import Batch
from robustray.judging.case import Case
from robustray.numerics import numerics
from robustray.verdicts import CLEAN, read_shard


@dataclass(frozen=True)
class Checked:
    """What was found. All is well where every list is empty."""

    images: int  # adversarial images looked at
    largest: float  # their largest perturbation, in the threat's norm
    outside: list[int]  # rows whose image leaves the threat or [0, 1]
    changed: list[int]  # rows whose verdict is another one now
    missing: list[int]  # rows without verdicts of a stage, or broken by it but without a saved image
    clean_changed: list[int]  # rows whose clean verdict is another one now

    @property
    def sound(self) -> bool:
        return not (self.outside or self.changed or self.missing or self.clean_changed)


def checked(case: Case) -> Checked:
    """Looks at every saved image of a judgement again, in the batches its verdicts were found in."""
    seen, largest = 0, 0.0
    outside: list[int] = []
    changed: list[int] = []
    missing: list[int] = []
    clean_changed: list[int] = []
    plan, threat = case.plan, case.plan.threat
    for number in range(plan.shards):
        x, y = case.images(number)
        rows = plan.shard(number)
        for stage in plan.stages:
            shard = read_shard(case.folder, stage, number)
            if shard is None:
                missing += rows.tolist()
                continue
            at = torch.from_numpy(np.searchsorted(rows, shard.image)).to(x.device)
            batch = Batch(stage, number, shard.image.astype(np.int64), x[at], y[at])
            if stage == CLEAN:
                with numerics(), attack_mode(case.model, "eval"):
                    now = case.bench.answers(batch, batch.x)[1].cpu().numpy()
                clean_changed += shard.image[now != shard.correct].tolist()
                continue
            kept = images.load(case.folder, stage, number)
            broken = shard.image[shard.broken]
            if kept is None or not np.array_equal(kept[0], broken):
                missing += broken.tolist()
                continue
            if not len(broken):
                continue
            where = torch.from_numpy(np.flatnonzero(shard.broken)).to(x.device)
            x_adv = torch.from_numpy(kept[1]).to(x)
            inside = threat.inside(x_adv, batch.x[where])
            outside += broken[~inside.cpu().numpy()].tolist()
            largest = max(largest, float(norms.length(x_adv.double() - batch.x[where], threat.norm).max()))
            batch.x[where] = x_adv  # a copy: indexing by a tensor made it
            with numerics(), attack_mode(case.model, "eval"):
                now = case.bench.answers(batch, batch.x)[1][where].cpu().numpy()
            changed += broken[now != 0].tolist()
            seen += len(broken)
    return Checked(seen, largest, outside, changed, sorted(set(missing)), clean_changed)
